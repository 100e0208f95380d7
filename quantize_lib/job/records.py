"""What the worker says of texts and reloads; report and card show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TextRecord:
    """Which text was used, as it stands in report and card."""

    source: str
    """`Salesforce/wikitext (wikitext-2-raw-v1, train)`, `3 files`, `2 texts`."""
    dataset: str | None
    """Hub id of the data set; None for files and texts."""
    revision: str
    """40-hex commit of a Hub data set; `sha256:…` content hash of files and texts."""
    samples: int
    sequence_length: int
    tokens: int
    tokens_digest: str
    """sha256 of the token ids as little-endian int64."""
    short: bool = False
    """Less text than was asked for."""


@dataclass(frozen=True, kw_only=True)
class Reload:
    """What a fresh process saw that loaded the checkpoint the way a user would."""

    load_seconds: float
    peak_memory_bytes: int
    prompt: str
    generated: str
    """Greedy continuation of `prompt` by the quantized model, without the prompt."""
    base_generated: str
    """The same of the base model."""
    sample_tokens: int
    sample_perplexity: float | None
    """Of the reloaded checkpoint on the sample; None where no evaluation was asked for."""
    sample_perplexity_pass: float | None
    """Of the pass on the same sample."""
    sample_kl_divergence: float | None
    sample_kl_divergence_pass: float | None
    reproduced: bool
    """Whether the files say the same as the pass did."""
    dtype: str
