"""Where a run takes place, as far as cards may say it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from quantize_lib.files import read_json

_ADDRESS = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")


def workflow_run(environ: Mapping[str, str]) -> str | None:
    """The address of the workflow run; None outside of one, and for a repository that is not public.

    A card is read by people who may not know that a private repository exists. Whether it is one stands in
    the event that started the workflow.
    """
    server, repository, run = (environ.get(name) for name in _ADDRESS)
    event = environ.get("GITHUB_EVENT_PATH")
    if not (server and repository and run and event):
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        if read_json(Path(event))["repository"]["private"] is False:
            return f"{server}/{repository}/actions/runs/{run}"
    return None


def provenance(environ: Mapping[str, str], image: str | None) -> dict[str, str]:
    """What a record says of where it was made.

    Args:
        image: of the container, with its digest; None where there was none.
    """
    found = {"image": image, "workflow_run": workflow_run(environ)}
    return {name: value for name, value in found.items() if value is not None}
