"""Base models: what they are before their weights are read, and how they get onto this machine."""

from __future__ import annotations

from quantize_lib.source.families import FAMILIES, SUPPORTED, Family, get_family
from quantize_lib.source.files import base_card, side_files
from quantize_lib.source.groups import resolve_group_size, resolved_layers
from quantize_lib.source.local import inspect_local, make_source, read_facts
from quantize_lib.tokens import read_token
from quantize_lib.types import ModelFacts, ModelSource, ModelSpec, Reporter

__all__ = [
    "FAMILIES",
    "SUPPORTED",
    "Family",
    "base_card",
    "fetch",
    "get_family",
    "inspect",
    "read_facts",
    "resolve_group_size",
    "resolved_layers",
    "side_files",
]


def inspect(model: ModelSpec, *, token: str | None, reporter: Reporter | None = None) -> ModelFacts:
    """What is known of a base model before its weights are read; nothing large is downloaded.

    Args:
        model: as the manifest names it.
        token: for a private or gated Hub model; None for `read_token`.
        reporter: shows the progress of hashing a large local folder.

    Raises:
        SourceError: where the model cannot be found, is damaged or not supported.
    """
    if model.local is not None:
        return inspect_local(model, model.local, reporter)
    from quantize_lib.source.hub import inspect_hub

    return inspect_hub(model, token=token or read_token())


def fetch(model: ModelSpec, facts: ModelFacts, reporter: Reporter, *, token: str | None) -> ModelSource:
    """Bring a base model onto this machine's disk: a local folder stays where it is.

    Args:
        model, facts: as `inspect` saw it; a Hub model is fetched at `facts.revision`.
        reporter: shows the progress of the download.
        token: as for `inspect`.

    Raises:
        SourceError: where it cannot be fetched, or there is no room for it.
    """
    if model.local is not None:
        return make_source(model.local, facts)
    from quantize_lib.source.hub import fetch_hub

    return fetch_hub(model, facts, reporter, token=token or read_token())
