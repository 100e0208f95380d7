"""The rows of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from quantize_lib.command.spec import CommandResult
from quantize_lib.errors import ErrorCode
from quantize_lib.harness.spec import TaskFigure
from quantize_lib.job.records import BuildFigures, Reload, TextRecord
from quantize_lib.methods import METHODS
from quantize_lib.methods.common import TARGET_BITS, TARGET_SIZE
from quantize_lib.metrics import Figure, Metric, Verdict
from quantize_lib.source.facts import Terms

CARD_FILE = "README.md"
"""The model card inside a checkpoint."""
PICTURE_FILE = "quality.png"
"""The card's picture inside a checkpoint."""
RECORD_FILE = "quantization_report.json"
"""The report inside a checkpoint: fingerprint, figures and the hash of every other file.

As it names every other file's hash, its own hash identifies the whole repository.
"""

CellStatus = Literal["published", "built", "skipped", "failed", "gated"]


@dataclass(frozen=True, kw_only=True)
class TextFigures:
    """What was measured on a further held-out text."""

    text: TextRecord
    figures: Mapping[str, Figure]
    """By the metric's name."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Everything that was measured of one cell; nothing here is estimated."""

    size_before: int
    """Bytes of the base model's weights on disk."""
    size_after: int
    """Bytes of the checkpoint's weights on disk."""
    seconds: float
    """Wall time of the cell's own work plus its share of the pass."""
    peak_memory_bytes: int
    """Peak resident memory of the process that quantized the job (on CUDA: of the device)."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By the metric's name; empty where no evaluation was asked for."""
    evaluation: TextRecord | None = None
    texts: Mapping[str, TextFigures] = field(default_factory=dict)
    """On further held-out texts, by name."""
    tasks: Mapping[str, TaskFigure] = field(default_factory=dict)
    """Of lm-evaluation-harness, by their ids."""
    builds: Mapping[str, BuildFigures] = field(default_factory=dict)
    """Of other builds of the base model on the same texts, by the names that the manifest has for them."""
    command: CommandResult | None = None
    """Of the user's own test command; None where it was not run."""
    reload: Reload | None = None

    @property
    def proven(self) -> bool:
        """Whether the figures of the pass count: only after the reload from disk reproduced them."""
        return self.reload is not None and self.reload.reproduced

    def figure(self, metric: Metric, text: str = "") -> Figure:
        """What was measured with a metric; an empty figure where nothing was.

        Args:
            text: the name of a further held-out text; empty for the first.
        """
        if not text:
            return self.figures.get(metric.name, Figure())
        return self.texts[text].figures.get(metric.name, Figure()) if text in self.texts else Figure()


@dataclass(frozen=True, kw_only=True)
class PublishedBefore:
    """What the repository of a cell holds, to compare with.

    Attributes:
        measurements: None where nothing is published, or nothing that was measured.
        fault: why that could not be found out.
        asked: whether it was looked at; it is not where nothing is to be published.
    """

    measurements: Measurements | None = None
    fault: str | None = None
    asked: bool = True


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One row of `report.json`."""

    id: str
    model: str
    revision: str | None
    method: str
    bits: int
    """Of every layer without bits of its own."""
    format: str
    """In which it is stored; the method's own, as long as the model is not known."""
    settings: Mapping[str, Any]
    """The settings as resolved: group_size is the number that was used."""
    status: CellStatus
    error: str | None = None
    code: ErrorCode | None = None
    """The error's, for programs; None where there is no error, or the report is of an earlier version."""
    path: str | None = None
    """The checkpoint, relative to the report's folder."""
    repository: str | None = None
    part: str = ""
    """Which part of the repository it is; empty where that is the cell's alone."""
    commit: str | None = None
    url: str | None = None
    """Where a person sees that commit, or the pull request that has it; None for a folder."""
    fingerprint: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What the fingerprint is made of (`plan.fingerprint.inputs`), so that a plan can say what changed."""
    fingerprinted: Mapping[str, Any] = field(default_factory=dict)
    """What the fingerprint is the digest of (`plan.fingerprint.fingerprinted`), so that anybody can recompute
    it; empty in a report of an earlier version."""
    calibration: TextRecord | None = None
    measurements: Measurements | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each file of the checkpoint, by relative path."""
    card_by_hand: bool = False
    """Whether a person wrote the card as it is; then only what the manifest names is changed in it."""
    choice: str | None = None
    """Of the one that was chosen among its model's cells (`plan.fingerprint.choice_digest`)."""
    not_chosen: str | None = None
    """Why it is not published though it may have met its gate: another one is, or it waits for the others."""
    notes: tuple[str, ...] = ()
    layers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Bits and group size of each quantized layer, by full name, where each was given its own."""
    types: Mapping[str, str] = field(default_factory=dict)
    """The type of each tensor that is stored as blocks, by name on disk, where each was given its own."""
    layer_errors: Mapping[str, float | None] = field(default_factory=dict)
    """Relative output error of each layer that was rounded by statistics, by full name, in the model's order;
    None where it is not finite."""
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What stays in full precision by the model's structure: names by the reason, `*` for each number."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it was made, as far as that may be known: `image`, `workflow_run`."""
    terms: Terms | None = None
    """Of the base model; None where they are not known, which counts as private."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """The gate it has to meet; `publish DIR` compares it with these again."""
    verdicts: tuple[Verdict, ...] = ()
    """How each limit was judged; empty where it was not held to them."""

    @property
    def remark(self) -> tuple[str, str] | None:
        """Why it is not what was asked for, and what to do, "" where that is not known; None where it is."""
        text = self.not_chosen if self.error is None else self.error
        if text is None:
            return None
        # An error's hint stands on the lines after its message.
        what, _, fix = text.partition("\n")
        return what, fix.strip()

    @property
    def shown(self) -> str:
        """What it is called where it is published (`acme/m-gptq-4bit`, `acme/m-gguf Q8_0`); else its id."""
        return self.id if self.repository is None else f"{self.repository} {self.part}".strip()

    @property
    def by_layer(self) -> bool:
        """Whether layers or tensors were each given their own bits or type."""
        return bool(self.layers or self.types)

    @property
    def width(self) -> str:
        """`4 bits`, or a type (`Q4_K_M`); where each layer has its own, `3.5 bits on average` or `at most
        1.2 GB`."""
        if (size := self.settings.get(TARGET_SIZE.name)) is not None:
            return f"at most {size}"
        if (mean := self.settings.get(TARGET_BITS.name)) is not None:
            return f"{mean:g} bits on average"
        method = METHODS.get(self.method)
        if method is not None and method.width is not None and method.width.name in self.settings:
            return str(self.settings[method.width.name])
        return f"{self.bits} bits"
