"""Base models: what they are before their weights are read, and how they get onto this machine."""

from __future__ import annotations

from quantize_lib.architecture.group_sizes import resolve_group_size, resolved_layers
from quantize_lib.hub.credentials import read_token
from quantize_lib.reporting import Reporter
from quantize_lib.source.base_card import BaseCard
from quantize_lib.source.facts import ModelFacts, ModelSource
from quantize_lib.source.local import base_card, inspect_local, make_source, read_facts
from quantize_lib.source.model_files import side_files
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.remote import Resolved
from quantize_lib.source.terms import display, name_warning, notice, with_given

__all__ = [
    "Resolved",
    "base_card",
    "card_of",
    "display",
    "fetch",
    "inspect",
    "name_warning",
    "notice",
    "read_facts",
    "resolve",
    "resolve_group_size",
    "resolved_layers",
    "side_files",
    "with_given",
]


def resolve(model: ModelSpec, *, token: str | None, reporter: Reporter | None = None) -> Resolved:
    """The revision of a base model: the commit of a Hub model by one request, the content of a local folder.

    Args:
        model: as the manifest names it.
        token: for a private or gated Hub model; None for `read_token`.
        reporter: shows the progress of hashing a large local folder.

    Raises:
        SourceError: where the model cannot be found or read.
    """
    if model.local is not None:
        facts = inspect_local(model, model.local, reporter)
        return Resolved(revision=facts.revision, name=model.id, terms=facts.terms)
    from quantize_lib.source.hub_model import resolve_hub

    return resolve_hub(model, token=token or read_token())


def inspect(
    model: ModelSpec,
    *,
    token: str | None,
    resolved: Resolved | None = None,
    reporter: Reporter | None = None,
) -> ModelFacts:
    """What is known of a base model before its weights are read; nothing large is downloaded.

    Args:
        model, token, reporter: as for `resolve`.
        resolved: where the model is resolved already.

    Raises:
        SourceError: where the model cannot be found, is damaged or not supported.
    """
    resolved = resolved or resolve(model, token=token, reporter=reporter)
    if model.local is not None:
        return read_facts(model, model.local, revision=resolved.revision)
    from quantize_lib.source.hub_model import inspect_hub

    return inspect_hub(model, resolved, token=token or read_token())


def card_of(model: ModelSpec, resolved: Resolved, *, token: str | None) -> BaseCard:
    """A base model's card alone.

    Args:
        model, token: as for `resolve`.
        resolved: the model at its revision.

    Raises:
        SourceError: where it cannot be read.
    """
    if model.local is not None:
        return base_card(model.local)
    from quantize_lib.source.hub_model import hub_card

    return hub_card(model, resolved, token=token or read_token())


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
    from quantize_lib.source.hub_model import fetch_hub

    return fetch_hub(model, facts, reporter, token=token or read_token())
