"""Compares a job's finished checkpoints with what the pass measured of them."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.checkpoint.assemble import cannot_write
from quantize_lib.errors import EvaluationError
from quantize_lib.job.job_file import JobFile
from quantize_lib.job.records import Reload
from quantize_lib.job.result import FailedCell, QuantizedCell
from quantize_lib.parallel import one_by_one
from quantize_lib.process_memory import release_freed
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.tasks import task_of
from quantize_lib.worker.job_memory import base_too_large, room_for_weights
from quantize_lib.worker.resume import Finished

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE = 2
"""Reloads at a time, where memory allows: half of one is importing, reading and single tokens."""
_CORES = 4
"""With fewer, reloads at the same time only wait for each other."""
_LEAST_FREE_BYTES = 2**16
"""A reload writes less than that into its folder."""


def check_cells(
    job: JobFile,
    facts: ModelFacts,
    finished: Finished,
    evaluation: Tensor | None,
    device: str,
    reporter: Reporter,
) -> None:
    """Reload every finished checkpoint in a fresh process of its own, as a user would.

    Args:
        facts: of the base model.
        finished: its means are what the reload has to reproduce, and its cells get what came of it. Those
            that an earlier process reloaded are left out.
        evaluation: held-out token ids.
        device: where checkpoints are loaded.

    A checkpoint that does not pass stays where it is, with the reason. The base model's own continuation is
    only shown beside the checkpoint's: where there is none, a note says why.

    Raises:
        CheckpointError: where the disk is full.
    """
    from quantize_lib.checkpoint.shards import write_tensors
    from quantize_lib.evaluate.check import check_reload, generate_base

    cells = {
        cell.id: result
        for cell in job.cells
        if isinstance(result := finished.cells[cell.id], QuantizedCell) and result.reload is None
    }
    if not cells:
        return
    work = job.output / ".reload"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir()
    sample_file = logits_file = None
    if evaluation is not None and finished.sample:
        sample_file, logits_file = work / "sample.safetensors", finished.logits_file
        try:
            write_tensors(sample_file, [("ids", evaluation[: finished.sample])], count=1)
        except OSError as error:
            raise cannot_write(work, error) from error
    gc.collect()
    # The reloads need it.
    release_freed()
    continues = task_of(facts.config).continues
    without_base = base_too_large(job, facts, device) if continues else None
    room = room_for_weights(job, facts, device)

    def load(cell_id: str | None) -> Reload | str | EvaluationError:
        """What came of a checkpoint, or the base model's continuation where there is no id."""
        try:
            if cell_id is None:
                return generate_base(
                    job.model.path,
                    tensors=facts.tensors.values(),
                    prompt=job.prompt,
                    work=work,
                    device=device,
                    trust_remote_code=job.model.trust_remote_code,
                )
            return check_reload(
                job.output / cell_id,
                prompt=job.prompt,
                sample=sample_file,
                base_logits=logits_file,
                expected=finished.means.get(cell_id),
                work=work,
                base=None if continues else job.model.path,
                tensors=() if continues else facts.tensors.values(),
                device=device,
                trust_remote_code=job.model.trust_remote_code,
                room=room,
            )
        except EvaluationError as error:
            return with_log(error, work / f"{cell_id or job.model.path.name}.log")

    asks_base = continues and without_base is None
    items = [*([None] if asks_base else []), *cells]
    together = (os.cpu_count() or 1) >= _CORES and room_for_weights(job, facts, device, times=_AT_ONCE)
    with reporter.progress("Reloading", len(cells), "checkpoint") as progress:
        found = one_by_one(load, items, at_once=_AT_ONCE if together else 1)
        base = next(found) if asks_base else ""
        if isinstance(base, EvaluationError):
            without_base = base.message
        if without_base is not None:
            reporter.warning(without_base)
        for (cell_id, result), reload in zip(cells.items(), found, strict=True):
            told = result if without_base is None else replace(result, notes=(*result.notes, without_base))
            if isinstance(reload, Reload):
                base_generated = base if isinstance(base, str) else ""
                told = replace(told, reload=replace(reload, base_generated=base_generated))
            elif isinstance(reload, EvaluationError):
                told = replace(told, failure=FailedCell.of(reload))
            finished.cells[cell_id] = told
            finished.save()
            progress.advance()
    shutil.rmtree(work)


def with_log(error: EvaluationError, log: Path) -> EvaluationError:
    """The error, its log among the temporary files copied to our own standard error, which is kept.

    Raises:
        CheckpointError: where the disk is full.
    """
    if log.exists():
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
    if shutil.disk_usage(log.parent).free < _LEAST_FREE_BYTES:
        # The reload could write neither its log nor its result; what it did say only misleads.
        raise cannot_write(log.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
    return EvaluationError(error.message, hint="Everything it printed is in the log of the run.")
