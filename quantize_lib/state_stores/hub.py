"""A private repository on the Hugging Face Hub, or on what HF_ENDPOINT names in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quantize_lib.names import repository_fault
from quantize_lib.options import Option
from quantize_lib.state_stores.entry import StateStore

REPOSITORY: Option[str | None] = Option(
    name="repository",
    default=None,
    words={
        "title": "Repository",
        "description": "The repository of `in: hub`, as `namespace/name`. It is made where it is missing, "
        "and has to be private; two manifests that name one model need one each.",
        "type": "string",
        "examples": ["acme/state"],
    },
)


def _check(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    repository = values.get(REPOSITORY.name)
    if repository is None:
        yield "in", f"needs `{REPOSITORY.name}`, the private repository to keep state in."
    elif "/" not in repository:
        yield REPOSITORY.name, "a repository on the Hub is in a namespace; write `namespace/name`."
    elif fault := repository_fault(repository):
        yield REPOSITORY.name, f"not the id of a repository: {fault}."


STATE_STORE = StateStore(
    name="hub",
    order=3,
    summary="a private repository there, which needs a token",
    label="{repository} on the Hugging Face Hub",
    keeper="quantize_lib.kept_state.hub:HubStore",
    options=(REPOSITORY,),
    check=_check,
)
