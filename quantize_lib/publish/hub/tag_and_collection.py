"""What may follow a checked publication on the Hub: a tag for the base model's release, and a collection.

Both say nothing new where they were done before, so publishing again makes good what failed.
"""

from __future__ import annotations

import re

from quantize_lib.errors import PublishError
from quantize_lib.hub.explanations import publishing_errors
from quantize_lib.names import render
from quantize_lib.publish.base import Origin
from quantize_lib.publish.hub.repository import HubRepository
from quantize_lib.targets import PublishSpec
from quantize_lib.targets.hub import COLLECTION, TAG

_REVISION = re.compile(r"(?:sha256:)?([0-9a-f]{12})[0-9a-f]*")


def tag_of(revision: str | None, part: str = "") -> str | None:
    """The tag for a commit of the base model, or for the content hash of a folder; each part has its own."""
    found = _REVISION.fullmatch(revision or "")
    return None if found is None else "-".join(filter(None, ("base", found[1], part)))


def apply_options(
    remote: HubRepository, spec: PublishSpec, origin: Origin, commit: str, part: str = ""
) -> None:
    """Tag the commit and put the repository into its collection, as far as the manifest asks for it.

    Raises:
        PublishError: where that fails; the checkpoint is published all the same.
    """
    try:
        with publishing_errors(remote.name):
            tag = tag_of(origin.revision, part)
            if spec[TAG] and tag is not None:
                remote.tag(tag, commit)
            if (template := spec[COLLECTION]) is not None:
                title = render(template, {"model": origin.model.rpartition("/")[2]})
                remote.collect(title, private=spec.private)
    except PublishError as error:
        raise PublishError(
            f"{remote.name} is published at {commit}, but not tagged or collected: {error.message}",
            hint=f"{error.hint or ''} `model-quantizer publish DIR` then does the rest.".strip(),
        ) from None
