"""Runs one prepared job: brings its model here, lets a process quantize it, and finishes its cells."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from quantize_lib.checkpoint.assemble import cannot_write
from quantize_lib.errors import CheckpointError, EngineError
from quantize_lib.host.agreement import check_agreement
from quantize_lib.host.choices import Choices
from quantize_lib.host.finish import Finisher
from quantize_lib.host.hand_over import hand_over
from quantize_lib.host.job_state import JobState
from quantize_lib.host.prepare import Prepared
from quantize_lib.host.run_options import RunOptions
from quantize_lib.host.set_aside import take_up
from quantize_lib.job.layout import RESULT_FILE
from quantize_lib.job.result import JobResult, read_result
from quantize_lib.kept_state.keeping import JobKeeper
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter
from quantize_lib.source import fetch
from quantize_lib.source.facts import ModelSource
from quantize_lib.source.other_build import fetch_build


@dataclass(frozen=True, kw_only=True)
class JobRunner:
    """Runs the jobs of a plan, one after the other.

    Attributes:
        choices: those among its cells, for which some wait until they are published.
        state: the output folder's `.state`.
    """

    options: RunOptions
    finisher: Finisher
    choices: Choices
    reporter: Reporter
    state: Path

    def run(self, prepared: Prepared, records: dict[str, CellRecord]) -> None:
        """Run one job.

        Args:
            records: gets those of its cells, as they are finished.

        Raises:
            QuantizerError: where it cannot go on; cells that are not in `records` failed with it.
        """
        job = prepared.job
        state = JobState(self.state, job.id)
        keeper = self._keeper(prepared)
        keep = True
        over = False
        try:
            check_agreement(job.model, prepared.facts)
            if keeper is not None and not state.is_worth_keeping():
                state.end()
                keeper.bring_back(state.brought_back(contained=self._contained))
            source = fetch(job.model, prepared.facts, self.reporter, token=None)
            made, result = state.made(prepared)
            if result is not None:
                self._finish(prepared.keep(made), source, state, result, records)
            state.drop_made()
            rest = tuple(cell for cell in job.cells if cell not in made)
            keep = bool(rest) and self._make(prepared.keep(rest), source, state, keeper, records)
            over = not keep
        except CheckpointError:
            # From what cannot be a result nothing better would come.
            keep, over = False, True
            raise
        except EngineError:
            # The executor forgot what a process had left that failed because of it.
            over = keeper is not None and keeper.is_ours and not state.is_worth_keeping()
            raise
        except OSError as error:
            # What is read has errors of its own; this is the output folder's.
            raise cannot_write(self.options.output, error) from error
        finally:
            state.end(keep=keep)
            if keeper is not None and over:
                keeper.remove()

    def _keeper(self, prepared: Prepared) -> JobKeeper | None:
        """What keeps the job's state in a store; None where the output folder is all."""
        store, job = self.options.store, prepared.job
        if store is None:
            return None
        return JobKeeper(
            store,
            job.id,
            fingerprints={cell.id: prepared.identities[cell.id].fingerprint for cell in job.cells},
            contained=self._contained,
            estimate=prepared.estimate().state_bytes,
            reporter=self.reporter,
        )

    @property
    def _contained(self) -> bool:
        return self.options.image is not None

    def _make(
        self,
        prepared: Prepared,
        source: ModelSource,
        state: JobState,
        keeper: JobKeeper | None,
        records: dict[str, CellRecord],
    ) -> bool:
        """Let a process quantize the job's cells, and finish them.

        Returns:
            Whether there is something left that a later run can go on from.
        """
        cells = prepared.job.cells
        state.begin([cell.id for cell in cells])
        for cell in cells:
            wanted = prepared.identities[cell.id].fingerprint
            take_up(cell.id, wanted, self.options.output, state.folder / cell.id)
        job_file = hand_over(
            prepared,
            source,
            state.folder,
            builds=[fetch_build(build, self.reporter) for build in prepared.builds],
            max_memory=self.options.max_memory,
        )
        root = state.written(contained=self._contained)
        with nullcontext() if keeper is None else keeper.following(root):
            self.options.execute(job_file, log=self.options.log, reporter=self.reporter)
        result = read_result(state.folder / RESULT_FILE)
        if not result.unfinished:
            state.write_made(prepared)
        self._finish(prepared, source, state, result, records)
        if result.unfinished:
            state.leave_for_another()
        return result.unfinished

    def _finish(
        self,
        prepared: Prepared,
        source: ModelSource,
        state: JobState,
        result: JobResult,
        records: dict[str, CellRecord],
    ) -> None:
        for cell in prepared.job.cells:
            finished = self.finisher.finish(cell, prepared, source, state.folder, result)
            record = self.choices.publish(finished)
            if record.status == "failed":
                self.reporter.error(f"{cell.id} failed: {record.error}")
                if record.path is not None:
                    self.reporter.info(
                        f"{cell.id}: its tensors are kept in {self.options.output / record.path}; the same "
                        "command makes the checks again without quantizing"
                    )
            records[cell.id] = record
