"""What the worker says of texts and reloads; report and card show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHARED_TOKENS = 64
"""So many in a row make a sequence one that was seen in calibration."""


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
    shared: int = 0
    """Of a held-out text: sequences with `SHARED_TOKENS` in a row that the calibration text has too."""

    @property
    def seen(self) -> str | None:
        """What is to be said of sequences that were seen in calibration; None where there is none."""
        if not self.shared or not self.samples:
            return None
        return (
            f"{self.shared} of {self.samples} sequences ({self.shared / self.samples:.0%}) have "
            f"{SHARED_TOKENS} tokens in a row in common with the calibration text, so the figures on it "
            "flatter the checkpoint"
        )


@dataclass(frozen=True, kw_only=True)
class SampleFigure:
    """A metric's figure on the sample; None where it is not finite, or there was nothing to compare with."""

    reloaded: float | None
    """Of the reloaded checkpoint."""
    of_pass: float | None
    """Of the pass."""


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
    sample: Mapping[str, SampleFigure] = field(default_factory=dict)
    """By the metric's name; empty where no evaluation was asked for."""
    reproduced: bool
    """Whether the files say the same as the pass did, in every way of loading."""
    dtype: str
    modes: tuple[str, ...] = ()
    """Further ways of loading, beside the default, that were compared too."""
    unrounded_inputs: Mapping[str, float | None] = field(default_factory=dict)
    """Figures on the sample where a way of loading leaves inputs as they are that the default rounds, by the
    metric's name."""
