"""Holds a job's finished checkpoints against what the pass said of them."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.checkpoint.assemble import cannot_write
from quantize_lib.errors import EvaluationError, QuantizerError
from quantize_lib.job.job_file import JobFile
from quantize_lib.process_memory import release_freed
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.worker.job_memory import base_too_large
from quantize_lib.worker.resume import Finished

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_FREE_BYTES = 2**16
"""A reload writes less than that into its folder."""


def check_cells(
    job: JobFile,
    facts: ModelFacts,
    finished: Finished,
    evaluation: Tensor | None,
    result: dict[str, Any],
    reporter: Reporter,
) -> None:
    """Reload every finished checkpoint in a fresh process, as a user would.

    Args:
        facts: of the base model.
        finished: what the pass said; its figures are what the reload has to reproduce. What an earlier
            process reloaded already is left out.
        evaluation: held-out token ids.
        result: gets `reload`, or `error`, for each cell; its entries are those of `finished`.

    Raises:
        EvaluationError: where the base model itself cannot be loaded.
        CheckpointError: where the disk is full.
    """
    from quantize_lib.checkpoint.shards import write_tensors
    from quantize_lib.evaluate.check import check_reload, generate_base

    cells = [cell for cell in job.cells if not {"error", "reload"} & finished.entries[cell.id].keys()]
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
    with reporter.progress("Reloading", len(cells), "checkpoint") as progress:
        base_generated = ""
        too_large = base_too_large(job, facts, result["device"])
        if too_large is not None:
            reporter.warning(too_large)
            for cell in cells:
                result["cells"][cell.id].setdefault("notes", []).append(too_large)
        else:
            try:
                base_generated = generate_base(
                    job.model.path,
                    prompt=job.prompt,
                    work=work,
                    device=result["device"],
                    trust_remote_code=job.model.trust_remote_code,
                )
            except EvaluationError as error:
                raise _with_log(error, work / f"{job.model.path.name}.log") from error
        for cell in cells:
            entry = result["cells"][cell.id]
            try:
                reload = check_reload(
                    job.output / cell.id,
                    prompt=job.prompt,
                    base_generated=base_generated,
                    sample=sample_file,
                    base_logits=logits_file,
                    expected=finished.means.get(cell.id),
                    work=work,
                    device=result["device"],
                    trust_remote_code=job.model.trust_remote_code,
                )
            except EvaluationError as error:
                entry["error"] = str(_with_log(error, work / f"{cell.id}.log"))
                shutil.rmtree(job.output / cell.id)
            else:
                entry["reload"] = asdict(reload)
            finished.save()
            progress.advance()
    shutil.rmtree(work)


def _with_log(error: EvaluationError, log: Path) -> QuantizerError:
    """The error, its log among the temporary files copied to our own standard error, which is kept."""
    if log.exists():
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
    if shutil.disk_usage(log.parent).free < _LEAST_FREE_BYTES:
        # The reload could write neither its log nor its result; what it did say only misleads.
        return cannot_write(log.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return EvaluationError(error.message, hint="Everything it printed is in the log of the run.")
