"""What is known of a base model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from quantize_lib.architecture.facts import Architecture
from quantize_lib.hub.remote_files import RemoteFile


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What binds whoever passes a base model on."""

    license: str | None = None
    """The licence's id as the card says it; its name where the id is `other`."""
    gated: Literal["auto", "manual"] | None = None
    """Who wants the model must ask, and gets an answer at once or by a person."""
    private: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelFacts(Architecture):
    """What is known of a base model before its weights are read."""

    revision: str
    """40-hex commit of a Hub model; `sha256:…` content hash of a local folder."""
    weight_bytes: int
    """Bytes of all files with weights, on disk."""
    download_bytes: int
    """Bytes still to be fetched; 0 for a local folder."""
    weight_files: tuple[str, ...] = ()
    """The files with weights that transformers reads, also what has no place in the model."""
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    """Everything that a Hub model's repository holds at `revision`."""
    terms: Terms = Terms()
    card: Mapping[str, Any] = field(default_factory=dict)
    """What a checkpoint's card takes from the base model's (`card_rules.KEYS`), in the Hub's words."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A base model on this machine's disk."""

    folder: Path
    facts: ModelFacts
    license: str | None = None
    """`license` of the base model's card; None where it says nothing."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """As `ModelFacts.card`."""
