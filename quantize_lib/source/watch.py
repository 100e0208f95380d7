"""Which models of an organization or a collection there are on the Hub now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import islice

from quantize_lib.errors import SourceError
from quantize_lib.formats import FORMATS
from quantize_lib.hub.client import hub_client
from quantize_lib.hub.credentials import read_token
from quantize_lib.hub.explanations import reading_errors
from quantize_lib.hub.retry import READING
from quantize_lib.methods import METHODS
from quantize_lib.names import repository_fault, safe_name_fault
from quantize_lib.source.watch_rule import WatchRule

MAX_LISTED = 10_000
"""Models of an organization that are looked through, the newest first."""
_QUANTIZED = {
    *FORMATS,
    *METHODS,
    *(method.slug for method in METHODS.values()),
    *("gguf", "mlx", "model-quantizer"),
}
"""Tags of models that are quantized already, this tool's own among them."""


def find_models(rule: WatchRule) -> tuple[str, ...]:
    """The Hub ids that a rule finds: an organization's newest first, a collection's in its order.

    Names come from whoever may write there: what is no plain Hub id, or has a name that is not safe in file
    names, is left out.

    Raises:
        SourceError: where the Hub cannot be asked, or knows no such collection.
    """
    name = rule.organization or rule.collection or ""
    kind = "the models of" if rule.organization else "collection"
    with reading_errors(name, "main", kind=kind, alternative="Models can be named under `models`."):
        ids = _of_organization(name) if rule.organization else _of_collection(name)
        found = tuple(identity for identity in ids if is_wanted(identity, rule))
    return tuple(dict.fromkeys(found))


def is_wanted(identity: str, rule: WatchRule) -> bool:
    """Whether a model's id is one that the rule asks for."""
    name = identity.rpartition("/")[2]
    if "/" not in identity or repository_fault(identity) is not None or safe_name_fault(name) is not None:
        return False
    return _matches(identity, rule.models) and not _matches(identity, rule.exclude)


def is_plain(tags: Iterable[str]) -> bool:
    """Whether a model is one in full precision that can be read, by the tags that the Hub gives it."""
    tags = set(tags)
    derived = any(tag.startswith("base_model:quantized:") for tag in tags)
    return "safetensors" in tags and not derived and not tags.intersection(_QUANTIZED)


def _of_organization(name: str) -> Iterator[str]:
    listed = hub_client(read_token()).list_models(
        author=name, sort="created_at", expand=["createdAt", "tags"]
    )
    for model in islice(listed, MAX_LISTED):
        if is_plain(model.tags or ()):
            yield model.id


def _of_collection(slug: str) -> Iterator[str]:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        collection = READING.call(lambda: hub_client(read_token()).get_collection(slug))
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
        raise SourceError(
            f"there is no collection {slug} on the Hub, or it is private",
            hint="Copy the last two parts of its address; a private one needs a token with read access.",
        ) from None
    for item in collection.items:
        if item.item_type == "model":
            yield item.item_id


def _matches(identity: str, patterns: Iterable[str]) -> bool:
    name = identity.rpartition("/")[2]
    return any(fnmatchcase(identity if "/" in pattern else name, pattern) for pattern in patterns)
