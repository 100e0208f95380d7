"""What is asked of a benchmark, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from quantize_lib.devices import DeviceName

Status = Literal["measured", "failed", "not_started"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How everything is measured; the same for every checkpoint.

    Attributes:
        prompt_lengths: in tokens.
        batch_sizes: prompts that are continued at once.
        new_tokens: generated for each prompt, neither more nor fewer; at least 2.
        rounds: fresh processes for each checkpoint; the checkpoints take turns.
        repeats: timed runs of each case in each process.
        warm_ups: untimed runs of each case in each process before them, of two tokens.
        seed: chooses the prompts and their order, and is torch's.
        device: `auto` takes CUDA, then MPS, then the CPU.
    """

    prompt_lengths: tuple[int, ...] = (32, 128, 512)
    batch_sizes: tuple[int, ...] = (1, 4)
    new_tokens: int = 32
    rounds: int = 3
    repeats: int = 2
    warm_ups: int = 1
    seed: int = 0
    device: DeviceName = "auto"

    @property
    def prompts_a_process(self) -> int:
        """Prompts of the largest batches of one process; each process begins with the one after them."""
        return self.repeats * max(self.batch_sizes)


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What is continued.

    Attributes:
        source: `built in`, or the file.
        texts: in the order in which they are taken; none of them empty.
    """

    source: str
    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Through:
    """A server that a model is measured through.

    Attributes:
        server: the entry's name.
        program: absolute.
        path: what it reads of the model: the folder, or a file of it.
        words: what the model's format tells it besides.
    """

    server: str
    program: Path
    path: Path
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One model folder that is measured, by the loader that its card names or through a server.

    Attributes:
        name: unique in a benchmark; a cell's id, or the folder's name.
        folder: absolute.
        kind: for a person: `GPTQ, 4 bits`, `full precision`.
        bits: of a weight; None where it is not known, or none are quantized.
        size_bytes: of the weights on disk.
        base: the name of the base model that it is compared with; None where there is none.
        base_missing: why there is none, where one was looked for.
        through: None for the loader.
    """

    name: str
    folder: Path
    kind: str
    bits: int | None
    size_bytes: int
    base: str | None = None
    base_missing: str | None = None
    through: Through | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Figures of repeated runs.

    Attributes:
        values: in the order in which they were measured; at least one.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between them lies the middle half; of few values both ends count (method `inclusive`)."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        first, _, third = statistics.quantiles(self.values, n=4, method="inclusive")
        return first, third


@dataclass(frozen=True, kw_only=True)
class Case:
    """One prompt length with one batch size.

    Attributes:
        first_token_seconds: from the call to the first token of every prompt in the batch; the prompts are
            token ids by then.
        tokens_per_second: of the whole batch, after the first token.
        error: what ended it; figures of earlier runs stay.
    """

    prompt_length: int
    batch_size: int
    first_token_seconds: tuple[float, ...] = ()
    tokens_per_second: tuple[float, ...] = ()
    error: str | None = None

    @property
    def first_token(self) -> Spread | None:
        """None where nothing was measured."""
        return Spread(values=self.first_token_seconds) if self.first_token_seconds else None

    @property
    def speed(self) -> Spread | None:
        """None where nothing was measured."""
        return Spread(values=self.tokens_per_second) if self.tokens_per_second else None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one fresh process measured, as far as it came.

    Attributes:
        device: `cpu`, `cuda` or `mps`, with `device_name` for a person; nothing where a server may
            have chosen.
        loader: the library that loaded it, or the server with its version.
        dtype: of the embedding, as PyTorch calls it; nothing of a server.
        load_seconds: of the loader's call; its libraries are imported before. Of a server from its start
            until it is ready.
        memory_before_bytes: that the process had before it loaded: on CUDA of the device, else resident.
        peak_memory_bytes: highest until its last run; None where it ended before it could say.
        error: what ended it.
    """

    device: str = ""
    device_name: str = ""
    threads: int | None = None
    loader: str = ""
    dtype: str = ""
    load_seconds: float | None = None
    memory_before_bytes: int | None = None
    peak_memory_bytes: int | None = None
    cases: tuple[Case, ...] = ()
    error: str | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Answer:
        """From JSON."""
        cases = tuple(
            Case(
                **{
                    **case,
                    "first_token_seconds": tuple(case["first_token_seconds"]),
                    "tokens_per_second": tuple(case["tokens_per_second"]),
                }
            )
            for case in data["cases"]
        )
        return cls(**{**data, "cases": cases})


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything that was measured of a subject, of all its processes."""

    subject: Subject
    answers: tuple[Answer, ...] = field(default=())

    @property
    def error(self) -> str | None:
        """The first thing that went wrong."""
        found = (text for answer in self.answers for text in (answer.error, *_errors(answer.cases)) if text)
        return next(found, None)

    @property
    def ended(self) -> bool:
        """Whether a process of it ended before its time, so that another one would, too."""
        return any(answer.error is not None for answer in self.answers)

    @property
    def status(self) -> Status:
        """Whether there is something, and nothing went wrong."""
        if not self.answers:
            return "not_started"
        return "measured" if self.error is None else "failed"

    @property
    def load(self) -> Spread | None:
        """Seconds; None where nothing was loaded."""
        return _spread(answer.load_seconds for answer in self.answers)

    @property
    def peak_memory(self) -> Spread | None:
        """Bytes, of processes that came to their end."""
        return _spread(answer.peak_memory_bytes for answer in self._whole())

    @property
    def model_memory(self) -> Spread | None:
        """Bytes of the peak beyond what the process had before it loaded."""
        return _spread(
            answer.peak_memory_bytes - answer.memory_before_bytes
            for answer in self._whole()
            if answer.peak_memory_bytes is not None and answer.memory_before_bytes is not None
        )

    @property
    def cases(self) -> tuple[Case, ...]:
        """Each with the runs of all processes, in the order of the first process."""
        found: dict[tuple[int, int], list[Case]] = {}
        for answer in self.answers:
            for case in answer.cases:
                found.setdefault((case.prompt_length, case.batch_size), []).append(case)
        return tuple(_joined(cases) for cases in found.values())

    def said(self, attribute: Literal["device", "device_name", "loader", "dtype"]) -> str | None:
        """What the first process that knew it said."""
        return next((str(text) for answer in self.answers if (text := getattr(answer, attribute))), None)

    def _whole(self) -> Iterable[Answer]:
        """What did everything: less would need less memory."""
        return (
            answer
            for answer in self.answers
            if answer.error is None and all(case.error is None for case in answer.cases)
        )


def _errors(cases: Iterable[Case]) -> Iterable[str]:
    return (
        f"{case.batch_size} × {case.prompt_length} tokens: {case.error}"
        for case in cases
        if case.error is not None
    )


def _joined(cases: Sequence[Case]) -> Case:
    return Case(
        prompt_length=cases[0].prompt_length,
        batch_size=cases[0].batch_size,
        first_token_seconds=tuple(value for case in cases for value in case.first_token_seconds),
        tokens_per_second=tuple(value for case in cases for value in case.tokens_per_second),
        error=next((case.error for case in cases if case.error is not None), None),
    )


def _spread(values: Iterable[float | None]) -> Spread | None:
    found = tuple(value for value in values if value is not None)
    return Spread(values=found) if found else None
