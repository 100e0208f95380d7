"""The statistics of shards as files: what they belong to, and reading them, which trusts nothing of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.errors import CalibrationError
from quantize_lib.files import sha256_file
from quantize_lib.job.job_file import JobFile
from quantize_lib.job.statistics_record import (
    StatisticsFile,
    StatisticsRecord,
    StatisticsSource,
    check_source,
    read_record,
    whole_set,
)
from quantize_lib.reporting import Reporter
from quantize_lib.worker.answer import Answer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from quantize_lib.engine.model import StreamedModel
    from quantize_lib.engine.stored_sums import StoredSums

_COMPUTING = ("model-quantizer", "torch", "transformers")
"""Whose versions determine sums."""
_MAPPED_BYTES = 2**20
"""Pages of a mapped file are resident memory as long as it is open: after so many it is closed."""


def source_of(job: JobFile, known: Answer, model: StreamedModel) -> StatisticsSource:
    """What determines the sums of a job's calibration text.

    Args:
        known: device, versions, and the text's record.
    """
    text = known.calibration
    assert text is not None
    return StatisticsSource(
        revision=job.model.revision,
        calibration=text.tokens_digest,
        sequences=text.samples,
        sequence_length=text.sequence_length,
        device=known.device,
        dtype=str(model.compute_dtype).removeprefix("torch."),
        versions={name: known.versions[name] for name in _COMPUTING if name in known.versions},
    )


def described(folder: Path) -> dict[str, StatisticsFile]:
    """The files of sums in a folder, by name."""
    return {
        path.name: StatisticsFile(size=path.stat().st_size, sha256=sha256_file(path))
        for path in sorted(folder.glob("*.safetensors"))
    }


def read_shards(job: JobFile) -> list[StatisticsRecord]:
    """What a job's shards say of themselves, in their order; empty where it calibrates by itself.

    Raises:
        CalibrationError: where one is missing, there twice, or of another plan than the others.
    """
    return whole_set([read_record(folder) for folder in job.statistics]) if job.statistics else []


def open_statistics(
    records: Sequence[StatisticsRecord], wanted: StatisticsSource, reporter: Reporter
) -> StoredSums:
    """The sums of all shards.

    Args:
        records: a whole set.
        wanted: what determines the sums that the job would make itself.

    Raises:
        CalibrationError: where a shard belongs to something else, or a file is missing or damaged.
    """
    from quantize_lib.engine.stored_sums import StoredSums

    for record in records:
        check_source(record, wanted, "this job")
    parts = [_Part(record) for record in records]
    size = len(records)
    reporter.info(f"the statistics of {size} {'shard' if size == 1 else 'shards'} are added up")
    return StoredSums(parts)


class _Part:
    """The files of one shard; it is a `Part` of stored sums.

    Raises:
        CalibrationError: where a file is missing, or not what the shard wrote.
    """

    def __init__(self, record: StatisticsRecord) -> None:
        self._record = record
        self._files: dict[str, Path] = {}
        self._open: tuple[Path, Any] | None = None
        self._mapped = 0
        for name, file in record.files.items():
            path = record.folder / name
            self._check(path, file)
            self._files |= dict.fromkeys(self._look(path).keys(), path)

    @property
    def names(self) -> Collection[str]:
        """Of its tensors."""
        return self._files.keys()

    def fault(self, reason: str) -> CalibrationError:
        """What is wrong with it, and what to do about it."""
        return self._record.fault(reason)

    def _check(self, path: Path, file: StatisticsFile) -> None:
        if path.is_symlink() or not path.is_file():
            raise self.fault(f"{path.name} is missing")
        size = path.stat().st_size
        if size != file.size:
            raise self.fault(f"{path.name} is damaged: it has {size} bytes, and had {file.size}")
        if sha256_file(path) != file.sha256:
            raise self.fault(f"{path.name} is damaged: its bytes are not those that were written")

    def _look(self, path: Path) -> Any:
        """A file, opened unless it is open."""
        from safetensors import SafetensorError, safe_open

        if self._open is None or self._open[0] != path:
            try:
                self._open = path, safe_open(path, framework="pt", device="cpu")
            except (SafetensorError, OSError) as error:
                raise self.fault(f"{path.name} cannot be read: {error}") from error
        return self._open[1]

    def read(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """One of its tensors."""
        from safetensors import SafetensorError

        path = self._files.get(name)
        if path is None:
            raise self.fault(f"{name} is missing")
        file = self._look(path)
        try:
            # Before anything is read: a shape may promise more than there is memory.
            found = tuple(file.get_slice(name).get_shape())
            tensor: Tensor | None = file.get_tensor(name) if found == shape else None
        except SafetensorError as error:
            raise self.fault(f"{name} cannot be read: {error}") from error
        if tensor is None or tensor.dtype != dtype:
            raise self.fault(f"{name} has the shape {found}, and {shape} of {dtype} was expected")
        self._mapped += tensor.nbytes
        if self._mapped >= _MAPPED_BYTES:
            # The tensor's own pages go with it.
            self._open, self._mapped = None, 0
        return tensor
