"""The statistics that a run is given: which shards of which job lie in the folders that were named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quantize_lib.errors import CalibrationError, UsageError
from quantize_lib.job.layout import STATISTICS_FILE
from quantize_lib.job.statistics_record import read_record, whole_set
from quantize_lib.plan.cells import Job
from quantize_lib.wording import joined

_SHARDS = f"*-of-*/{STATISTICS_FILE}"


@dataclass(frozen=True, kw_only=True)
class GivenStatistics:
    """Folders that `calibrate` wrote to."""

    folders: tuple[Path, ...]

    @classmethod
    def find(cls, folders: Sequence[Path]) -> GivenStatistics | None:
        """The folders, in each of which there is a shard; None where none is named.

        Raises:
            UsageError: where there is none.
        """
        found = tuple(folder.absolute() for folder in folders)
        for folder in found:
            if not any(folder.glob(f"*/{_SHARDS}")):
                what = "holds no statistics" if folder.is_dir() else "is no folder"
                raise UsageError(
                    f"--statistics: {folder} {what}",
                    hint="Name the folder that `model-quantizer calibrate … --output DIR` wrote to.",
                )
        return cls(folders=found) if found else None

    def of(self, job: Job, revision: str) -> tuple[Path, ...]:
        """The folders of all shards of a job, in their order; empty for a job that does not calibrate.

        Args:
            revision: of its base model.

        Raises:
            CalibrationError: where a shard is missing, there twice, or of something else, naming the shard.
        """
        if not job.calibrated:
            return ()
        found = [file.parent for folder in self.folders for file in sorted((folder / job.id).glob(_SHARDS))]
        where = joined(map(str, self.folders))
        if not found:
            others = sorted(
                {file.parents[1].name for one in self.folders for file in one.glob(f"*/{_SHARDS}")}
            )
            raise CalibrationError(
                f"{where} has no statistics of {job.id}; it has those of {joined(others)}",
                hint="Make them with the same manifest and the same --device: model-quantizer calibrate "
                "MANIFEST --shard K/N --output DIR",
            )
        records = whole_set([read_record(folder) for folder in found])
        for record in records:
            if record.source.revision != revision:
                raise record.fault(
                    f"it was made of revision {record.source.revision} of the base model, and this run takes "
                    f"{revision}"
                )
        return tuple(record.folder for record in records)
