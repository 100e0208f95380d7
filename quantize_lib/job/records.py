"""What the worker says of texts and reloads; report and card show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from quantize_lib.metrics import Figure

SHARED_TOKENS = 64
"""So many in a row make a sequence one that was seen in calibration."""


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """A source of text, and what it gave."""

    source: str
    """`Salesforce/wikitext (wikitext-2-raw-v1, train)`, `3 files`, `2 texts`."""
    dataset: str | None
    """Hub id of the data set; None for files, texts and mixes."""
    revision: str
    """40-hex commit of a Hub data set; `sha256:…` content hash of files and texts; of a mix, of its sources'
    revisions."""
    samples: int
    short: bool = False
    """Less text than was asked for."""
    conversations: int = 0
    """How many of its documents are conversations, which the chat template wrote as text."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Variables that the template got."""


@dataclass(frozen=True, kw_only=True)
class TextRecord(TextPart):
    """Which text was used, as it stands in report and card."""

    sequence_length: int
    tokens: int
    tokens_digest: str
    """sha256 of the token ids as little-endian int64."""
    parts: tuple[TextPart, ...] = ()
    """The sources of a mix, in its order; empty for a single one."""
    shared: int = 0
    """Of a held-out text: sequences with `SHARED_TOKENS` in a row that the calibration text has too."""

    @property
    def datasets(self) -> list[str]:
        """Hub ids of the data sets that it comes from, each once."""
        sources = self.parts or (self,)
        return list(dict.fromkeys(part.dataset for part in sources if part.dataset is not None))

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
class BuildFigures:
    """What was measured of another build of the base model, in the way of the checkpoints."""

    revision: str
    """40-hex commit on the Hub; `sha256:…` content hash of a folder."""
    size: int
    """Bytes of its weights on disk."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By the metric's name; empty where it could not be measured."""
    texts: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    """On further held-out texts, by the text's name."""
    fault: str | None = None
    """Why it could not be measured."""


_OF_FEW = ("conversations", "chat_template_kwargs", "parts", "shared")
"""Written only where there is something to say."""


def text_to_json(text: TextRecord) -> dict[str, Any]:
    """A text's record as result and report write it."""
    return {**_part_to_json(text), **({"parts": list(map(_part_to_json, text.parts))} if text.parts else {})}


def text_from_json(data: Mapping[str, Any]) -> TextRecord:
    """The record that `text_to_json` gave; keys that only another version knows are left out."""
    parts = tuple(TextPart(**_known(TextPart, part)) for part in data.get("parts", ()))
    return TextRecord(**{**_known(TextRecord, data), "parts": parts})


def _part_to_json(text: TextPart) -> dict[str, Any]:
    return {key: value for key, value in asdict(text).items() if value or key not in _OF_FEW}


def _known(kind: type[TextPart], data: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {key: value for key, value in data.items() if key in names}


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
