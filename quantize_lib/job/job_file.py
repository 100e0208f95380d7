"""The job as it travels to the quantizing process, in plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from quantize_lib.devices import DeviceName
from quantize_lib.effective_settings import effective_settings
from quantize_lib.errors import UsageError
from quantize_lib.files import write_json
from quantize_lib.harness.spec import TaskSpec
from quantize_lib.job.checked import read_checked
from quantize_lib.job.layout import STATISTICS
from quantize_lib.job.schema import job_schema
from quantize_lib.methods import Settings, settings_of

DEFAULT_PROMPT = "The capital of France is"
NEW_TOKENS = 20
"""How far the check after the reload continues the prompt."""


@dataclass(frozen=True, kw_only=True)
class JobTextPart:
    """A source of a mix: the next `documents` of the text are its own."""

    documents: int
    source: str
    dataset: str | None
    revision: str
    samples: int
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobText:
    """Text as the quantizing process gets it: already collected, still to be tokenized."""

    texts: Path
    source: str
    dataset: str | None
    revision: str
    samples: int
    sequence_length: int
    seed: int = 0
    allow_short: bool = False
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[JobTextPart, ...] = ()
    """The sources of a mix; empty for a single one."""
    optional: bool = False
    """A further held-out text that is left out where the tokenizer cannot read it."""


@dataclass(frozen=True, kw_only=True)
class JobModel:
    """The base model as the quantizing process gets it: a folder."""

    path: Path
    name: str
    revision: str
    trust_remote_code: bool = False
    allow_pickle: bool = False
    allow_quantized_base: bool = False


@dataclass(frozen=True, kw_only=True)
class JobCell:
    """One cell of the job."""

    id: str
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class JobTask:
    """A task of lm-evaluation-harness, and the digest of what determines its figure beside the model."""

    spec: TaskSpec
    key: str


@dataclass(frozen=True, kw_only=True)
class JobBuild:
    """Another build of the base model, to compare with: a folder, and the bytes of its weights."""

    path: Path
    name: str
    revision: str
    size: int


@dataclass(frozen=True, kw_only=True)
class JobShard:
    """A part of the calibration text, of which a job makes the statistics and nothing else.

    Attributes:
        number, count: which part of how many.
        size: about how many bytes its statistics take, for the limit of a container; 0 where nobody said.
    """

    number: int
    count: int
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class JobFile:
    """Everything that the quantizing process gets."""

    id: str
    model: JobModel
    device: DeviceName
    calibration: JobText | None
    evaluation: JobText | None
    cells: tuple[JobCell, ...]
    output: Path
    texts: Mapping[str, JobText] = field(default_factory=dict)
    """Further held-out texts by name; their sequences are as long as those of `evaluation`."""
    prompt: str = DEFAULT_PROMPT
    told: tuple[str, ...] = ()
    """Notes on the base model that the host has told already."""
    max_memory: int | None = None
    tasks: tuple[JobTask, ...] = ()
    builds: tuple[JobBuild, ...] = ()
    shard: JobShard | None = None
    """What the job makes instead of cells."""
    statistics: tuple[Path, ...] = ()
    """Folders with the statistics of all shards, which are added in place of calibrating."""

    @property
    def leaves(self) -> tuple[str, ...]:
        """The names of the folders that it leaves in its output."""
        return (STATISTICS,) if self.shard is not None else tuple(cell.id for cell in self.cells)

    @property
    def all_texts(self) -> tuple[JobText, ...]:
        """Every text that there is."""
        given = (self.calibration, self.evaluation, *self.texts.values())
        return tuple(text for text in given if text is not None)

    @property
    def carried(self) -> JobText | None:
        """All held-out text as one, as it goes through the blocks: for what it costs."""
        if self.evaluation is None:
            return None
        samples = sum(text.samples for text in (self.evaluation, *self.texts.values()))
        return replace(self.evaluation, samples=samples)


def write_job(path: Path, job: JobFile) -> None:
    """Write the job's JSON."""
    cells = [{"id": cell.id, "settings": effective_settings(cell.settings)} for cell in job.cells]
    tasks = {"tasks": [{**asdict(task.spec), "key": task.key} for task in job.tasks]} if job.tasks else {}
    builds = {"builds": [asdict(build) for build in job.builds]} if job.builds else {}
    statistics = {"statistics": job.statistics} if job.statistics else {}
    several = ("tasks", "builds", "statistics")
    data = {key: value for key, value in asdict(job).items() if key not in several}
    write_json(path, _plain({"version": 1, **data, **tasks, **builds, **statistics, "cells": cells}))


def read_job(path: Path) -> JobFile:
    """Read and check a job's JSON; relative paths are taken from its folder.

    Raises:
        UsageError: where the file is missing, not JSON, or not as its schema says.
    """
    data = read_checked(path, "job", job_schema())
    base = path.resolve().parent
    model = data["model"]
    return JobFile(
        id=data["id"],
        model=JobModel(**{**model, "path": base / model["path"]}),
        device=data["device"],
        calibration=_text(data.get("calibration"), base),
        evaluation=_text(data.get("evaluation"), base),
        texts={
            name: text
            for name, given in data.get("texts", {}).items()
            if (text := _text(given, base)) is not None
        },
        cells=tuple(JobCell(id=cell["id"], settings=_settings(cell["settings"])) for cell in data["cells"]),
        output=base / data["output"],
        prompt=data.get("prompt", DEFAULT_PROMPT),
        told=tuple(data.get("told", ())),
        max_memory=data.get("max_memory"),
        tasks=tuple(_task(task, base) for task in data.get("tasks", ())),
        builds=tuple(JobBuild(**{**build, "path": base / build["path"]}) for build in data.get("builds", ())),
        shard=_shard(path, data),
        statistics=tuple(base / folder for folder in data.get("statistics", ())),
    )


def _shard(path: Path, data: dict[str, Any]) -> JobShard | None:
    if "shard" not in data:
        return None
    shard = JobShard(**data["shard"])
    if shard.number > shard.count:
        raise UsageError(
            f"{path}: $.shard: there is no shard {shard.number} of {shard.count}",
            hint=f"The number is one of 1 to {shard.count}.",
        )
    for key, wrong in (("statistics", "statistics" in data), ("calibration", "calibration" not in data)):
        if wrong:
            verb = "takes no" if key in data else "needs"
            raise UsageError(
                f"{path}: a job for a shard {verb} `{key}`",
                hint="A shard makes statistics of calibration text; the job that adds them has `statistics`.",
            )
    return shard


def _settings(data: dict[str, Any]) -> Settings:
    values = {key: value for key, value in data.items() if key not in ("method", "bits")}
    return settings_of(data["method"], data["bits"], values)


def _task(data: dict[str, Any], base: Path) -> JobTask:
    values = {name: value for name, value in data.items() if name != "key"}
    if "file" in values:
        values["file"] = base / values["file"]
    return JobTask(spec=TaskSpec(**values), key=data["key"])


def _text(data: dict[str, Any] | None, base: Path) -> JobText | None:
    if data is None:
        return None
    parts = tuple(JobTextPart(**{"dataset": None, **part}) for part in data.get("parts", ()))
    return JobText(**{"dataset": None, **data, "texts": base / data["texts"], "parts": parts})


def _plain(value: Any) -> Any:
    """JSON without what is not set (None at the top level of an object) and with paths as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
