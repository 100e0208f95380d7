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
from quantize_lib.run.jobfile import JobFile
from quantize_lib.types import Reporter

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.engine.shared_pass import PassOutcome

_LEAST_FREE_BYTES = 2**16
"""A reload writes less than that into its folder."""


def check_cells(
    job: JobFile,
    outcome: PassOutcome,
    evaluation: Tensor | None,
    result: dict[str, Any],
    reporter: Reporter,
) -> None:
    """Reload every finished checkpoint in a fresh process, as a user would.

    Args:
        outcome: what the pass said; its figures are what the reload has to reproduce.
        evaluation: held-out token ids.
        result: gets `reload`, or `error`, for each cell.

    Raises:
        EvaluationError: where the base model itself cannot be loaded.
        CheckpointError: where the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from quantize_lib.evaluate.check import PassFigures, check_reload, generate_base

    cells = [cell for cell in job.cells if "error" not in result["cells"][cell.id]]
    if not cells:
        return
    work = job.output / ".reload"
    work.mkdir()
    sample_file: Path | None = None
    logits_file: Path | None = None
    count = 0
    if evaluation is not None and outcome.base_logits is not None:
        count = outcome.base_logits.shape[0]
        sample_file, logits_file = work / "sample.safetensors", work / "base-logits.safetensors"
        try:
            save_file({"ids": evaluation[:count].contiguous()}, sample_file)
            save_file({"logits": outcome.base_logits}, logits_file)
        except SafetensorError as error:
            raise cannot_write(work, error) from error
    figures = {
        cell_id: PassFigures(
            nll=float(cell.nll[:count].double().mean()), kl=float(cell.kl[:count].double().mean())
        )
        for cell_id, cell in outcome.cells.items()
        if cell.nll is not None and cell.kl is not None
    }
    del outcome
    gc.collect()
    with reporter.progress("Reloading", len(cells), "checkpoint") as progress:
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
                    expected=figures.get(cell.id),
                    work=work,
                    device=result["device"],
                    trust_remote_code=job.model.trust_remote_code,
                )
            except EvaluationError as error:
                entry["error"] = str(_with_log(error, work / f"{cell.id}.log"))
                shutil.rmtree(job.output / cell.id)
            else:
                entry["reload"] = asdict(reload)
            progress.advance()
    for file in (sample_file, logits_file):
        if file is not None:
            file.unlink()


def _with_log(error: EvaluationError, log: Path) -> QuantizerError:
    """The error, its log among the temporary files copied to our own standard error, which is kept."""
    if log.exists():
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
    if shutil.disk_usage(log.parent).free < _LEAST_FREE_BYTES:
        # The reload could write neither its log nor its result; what it did say only misleads.
        return cannot_write(log.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return EvaluationError(error.message, hint="Everything it printed is in the log of the run.")
