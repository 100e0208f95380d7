"""The plan: what is made of which models, and how it is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.command.spec import CommandSpec
from quantize_lib.devices import DeviceName
from quantize_lib.harness.spec import TaskSpec
from quantize_lib.methods import get_method
from quantize_lib.methods.settings import Settings
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.watch_rule import WatchRule
from quantize_lib.state_stores import StateSpec, state_spec
from quantize_lib.targets import PublishSpec

HELD_OUT = "perplexity"
"""The manifest's and the plan's key for the held-out text: what was measured on it first gave it its name."""
TEXTS = "texts"
"""The manifest's and the plan's key for further held-out texts, by name."""
CONVERSATIONS = "conversations"
"""The manifest's and the plan's key for the package's own conversations, and their name among the texts."""
CHOOSE = "choose"
"""The manifest's and the plan's key for which of a model's cells are published."""
Choose = Literal["all", "smallest"]
SMALLEST: Final = "smallest"


@dataclass(frozen=True, kw_only=True)
class EvaluateSpec:
    """What is measured, and the gate.

    Attributes:
        held_out: the text for every metric; None where nothing is measured.
        texts: further ones by name, with sequences of the same length.
        conversations: the package's own, which become one of `texts` once it is known that the model's
            tokenizer has a chat template; None where they are not wanted.
        tasks: of lm-evaluation-harness.
        compare_with: other builds of the base model.
        command: the user's own test; None where there is none.
        limits: by their keys in the manifest (`metrics.ALL_LIMITS`), those on a further text by
            `metrics.limit_key`, those on a task by `harness.spec.task_limit_key`, those of the command by
            `command.spec.command_limit_key`; empty for no gate.
        choose: which of the model's cells that meet them are published.
    """

    held_out: TextSpec | None = None
    texts: Mapping[str, TextSpec] = field(default_factory=dict)
    conversations: TextSpec | None = None
    tasks: tuple[TaskSpec, ...] = ()
    compare_with: tuple[ModelSpec, ...] = ()
    command: CommandSpec | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    choose: Choose = "all"

    def with_conversations(self, *, measured: bool) -> EvaluateSpec:
        """Once it is known whether the conversations are measured."""
        if self.conversations is None:
            return self
        further = {CONVERSATIONS: self.conversations} if measured else {}
        return replace(self, texts={**self.texts, **further}, conversations=None)

    @property
    def carried(self) -> TextSpec | None:
        """All held-out text as one, as it goes through the blocks: for what it costs."""
        if self.held_out is None:
            return None
        return replace(
            self.held_out, samples=sum(text.samples for text in (self.held_out, *self.texts.values()))
        )


@dataclass(frozen=True, kw_only=True)
class RunnersSpec:
    """Labels of the runners that GitHub fans the jobs out to."""

    cpu: tuple[str, ...] = ("ubuntu-latest",)
    cuda: tuple[str, ...] = ("self-hosted", "gpu")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model × method × bits with its settings: one output repository, or a part of one."""

    id: str
    settings: Settings
    repository: str
    """`namespace/name`, or `name` where the manifest has no namespace."""
    part: str = ""
    """Which part of the repository it is (`Format.part`); empty where that is the cell's alone."""
    position: int = field(default=0, compare=False)
    """Its place among all cells of the manifest."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """All cells of one model on one device: one download, one load, one calibration pass."""

    id: str
    model: ModelSpec
    device: DeviceName
    calibration: TextSpec
    evaluate: EvaluateSpec
    cells: tuple[Cell, ...]

    @property
    def calibrated(self) -> bool:
        """Whether any cell's method needs calibration."""
        return any(get_method(cell.settings.method).calibrated for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A manifest with everything resolved that needs neither network nor model."""

    manifest: Path | None
    jobs: tuple[Job, ...]
    publish: PublishSpec
    runners: RunnersSpec
    warnings: tuple[str, ...] = ()
    """What is allowed but worth a word; each begins with the id of its cell."""
    watch: tuple[WatchRule, ...] = ()
    """The rules by which more models are found; `manifest.expand` adds those."""
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the manifest says, as plain data."""
    state: StateSpec = field(default_factory=state_spec)
    """Where the state of unfinished jobs is kept."""

    def cells(self) -> Iterator[tuple[Job, Cell]]:
        """Every cell with its job, in the manifest's order."""
        for job in self.jobs:
            for cell in job.cells:
                yield job, cell
