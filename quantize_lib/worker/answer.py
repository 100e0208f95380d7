"""What a quantizing process has to say so far; it is written however the process ends."""

from __future__ import annotations

from dataclasses import replace

from quantize_lib.errors import CheckpointError, QuantizerError
from quantize_lib.job.job_file import JobFile
from quantize_lib.job.layout import RESULT_FILE
from quantize_lib.job.records import BuildFigures, TextRecord
from quantize_lib.job.result import CellResult, FailedCell, JobResult, QuantizedCell, write_result
from quantize_lib.process_memory import peak_memory
from quantize_lib.versions import versions
from quantize_lib.worker.held_out import HeldOut


class Answer:
    """A `JobResult` that grows.

    Attributes:
        device: where the job is computed; what it asks for, until that is chosen.
        versions: of everything that has a part in it.
        calibration, held_out: the texts, once they are tokens.
        cells: by id, those of which something is known.
        builds: other builds of the base model, by name.
        shared_seconds: None until every pass came to its end.
        peak_memory_bytes: of earlier processes.
        unfinished: whether another process can go on from what this one leaves.
    """

    def __init__(self, job: JobFile) -> None:
        self.device: str = job.device
        self.versions = versions()
        self.calibration: TextRecord | None = None
        self.held_out = HeldOut()
        self.cells: dict[str, CellResult] = {}
        self.builds: dict[str, BuildFigures] = {}
        self.shared_seconds: float | None = None
        self.peak_memory_bytes = 0
        self.unfinished = False
        self._job = job

    def fail_rest(self, error: QuantizerError) -> None:
        """Every cell that is not done yet failed with this one; those whose tensors are written keep them."""
        written = any(isinstance(cell, QuantizedCell) for cell in self.cells.values())
        # A full disk can be emptied; with another error than that it would come to the same end.
        self.unfinished = written or isinstance(error, CheckpointError)
        failure = FailedCell.of(error)
        for cell in self._job.cells:
            known = self.cells.get(cell.id)
            if known is None:
                self.cells[cell.id] = failure
            elif isinstance(known, QuantizedCell) and known.failure is None and not self._is_checked(known):
                self.cells[cell.id] = replace(known, failure=failure)

    def _is_checked(self, cell: QuantizedCell) -> bool:
        """Whether a cell was reloaded and has the figures of every task."""
        return cell.reload is not None and set(cell.tasks) == {task.spec.id for task in self._job.tasks}

    def result(self) -> JobResult:
        """All of it, in the job's order."""
        return JobResult(
            job=self._job.id,
            device=self.device,
            versions=self.versions,
            peak_memory_bytes=max(self.peak_memory_bytes, peak_memory(self.device)),
            cells={cell.id: self.cells[cell.id] for cell in self._job.cells if cell.id in self.cells},
            shared_seconds=self.shared_seconds,
            calibration=self.calibration,
            evaluation=self.held_out.first,
            texts=self.held_out.texts,
            builds=self.builds,
            unfinished=self.unfinished,
        )

    def write(self) -> None:
        """Leave it beside the job's cells."""
        write_result(self._job.output / RESULT_FILE, self.result())
