"""Sums of shards for tests: in memory, and the files of a shard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from quantize_lib.errors import CalibrationError
from quantize_lib.job.statistics_record import StatisticsRecord, StatisticsSource, write_record
from quantize_lib.worker.statistics_files import described

SOURCE = StatisticsSource(
    revision="a" * 40,
    calibration="b" * 64,
    sequences=9,
    sequence_length=64,
    device="cpu",
    dtype="float32",
    versions={"torch": "2.13.0"},
)


class MemoryPart:
    """A part of stored sums that is in memory; what it does not have in the right form is a fault."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    @property
    def names(self) -> Collection[str]:
        return self.tensors.keys()

    def read(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        tensor = self.tensors[name]
        assert (tensor.dtype, tuple(tensor.shape)) == (dtype, shape)
        return tensor

    def fault(self, reason: str) -> CalibrationError:
        return CalibrationError(reason)


def save_shard(
    folder: Path,
    number: int,
    count: int,
    *,
    source: StatisticsSource = SOURCE,
    tensors: Mapping[str, Tensor] | None = None,
) -> StatisticsRecord:
    """Write a shard's files into `folder/NUMBER-of-COUNT`."""
    place = folder / f"{number}-of-{count}"
    place.mkdir(parents=True)
    save_file(dict(tensors or {"block.layer/tokens": torch.tensor([3])}), place / "model.safetensors")
    record = StatisticsRecord(
        folder=place, job="tiny-cpu", number=number, count=count, source=source, files=described(place)
    )
    write_record(record)
    return record


def other_source(**changed: object) -> StatisticsSource:
    """As `SOURCE`, with something else in it."""
    return replace(SOURCE, **changed)  # type: ignore[arg-type]
