"""How a job fits into the memory that it may take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from quantize_lib.errors import UsageError
from quantize_lib.job.job_file import JobCell, JobFile
from quantize_lib.plan.memory_needs import LIBRARIES_BYTES, MemoryNeeds, memory_needs
from quantize_lib.reporting import Reporter
from quantize_lib.sizing import LANES
from quantize_lib.source.facts import ModelFacts
from quantize_lib.text import format_bytes


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a pass works within the memory that there is for it.

    Attributes:
        spill: at most how many batches of hidden states are to be kept on disk; 0 where they fit into memory.
        ahead: whether a block is calibrated while the one before is quantized.
        lanes: how many cells quantize a block at the same time.
    """

    spill: int
    ahead: bool = False
    lanes: int = 1


def fit(job: JobFile, cells: Sequence[JobCell], facts: ModelFacts, device: str, reporter: Reporter) -> Fit:
    """See how a pass fits into the job's memory.

    Args:
        cells: those that are still to be made.
        device: where it is computed.

    Raises:
        UsageError: where the job's limit cannot be kept, with what is needed.
    """
    limit = job.max_memory
    if not _limited(job, device):
        return Fit(spill=0)
    needs = memory_needs(
        facts,
        [cell.settings for cell in cells],
        calibration=job.calibration,
        evaluation=job.carried,
        share="add" if job.statistics else "all",
    )
    if not needs.spills(limit):
        lanes = LANES if needs.works_beside(limit) else 1
        return Fit(spill=0, ahead=needs.looks_ahead(limit), lanes=lanes)
    _tell_of_disk(needs, reporter)
    calibration = 0 if job.calibration is None else job.calibration.samples
    evaluation = 0 if job.carried is None else job.carried.samples
    return Fit(spill=calibration + evaluation * (1 + len(cells)))


def fit_shard(job: JobFile, sequences: int, facts: ModelFacts, device: str, reporter: Reporter) -> Fit:
    """As `fit`, of a job for a shard.

    Args:
        sequences: how many the shard has.
    """
    if not _limited(job, device) or job.calibration is None:
        return Fit(spill=0)
    needs = memory_needs(
        facts,
        [cell.settings for cell in job.cells],
        calibration=replace(job.calibration, samples=sequences),
        evaluation=None,
        share="collect",
    )
    if not needs.spills(job.max_memory):
        return Fit(spill=0)
    _tell_of_disk(needs, reporter)
    return Fit(spill=sequences)


def _limited(job: JobFile, device: str) -> bool:
    """Whether memory is counted for a job; a limit for a GPU is an error."""
    if device == "cpu":
        return True
    if job.max_memory is None:
        return False
    raise UsageError(
        f"a limit of memory is for a CPU, and {job.id} is computed on {device}",
        hint="Leave --max-memory out, or take --device cpu.",
    )


def _tell_of_disk(needs: MemoryNeeds, reporter: Reporter) -> None:
    whole = format_bytes(needs.hidden + needs.rest)
    reporter.info(f"activations are kept on disk: with them {whole} of memory would be needed")


def base_too_large(job: JobFile, facts: ModelFacts, device: str) -> str | None:
    """Why the whole base model cannot be loaded; None where it can, or where nothing is known of the room.

    Blocks are quantized one by one, but the base model's own continuation of the prompt needs all of them; on
    a CPU they are loaded in float32.
    """
    if device != "cpu":
        return None
    # What is dequantized is there in 16 bits until all of it is loaded.
    weights = sum(prod(info.shape) * (6 if info.stored else 4) for info in facts.tensors.values())
    needed, there = LIBRARIES_BYTES + weights, _there(job)
    if needed <= there:
        return None
    return (
        f"the base model was not asked for its own continuation: loading it takes {format_bytes(needed)} of "
        f"memory, and there are {format_bytes(there)}"
    )


def room_for_weights(job: JobFile, facts: ModelFacts, device: str, *, times: int = 1) -> bool:
    """Whether a loaded checkpoint's weights can be kept in float32 beside it, on a CPU.

    Args:
        times: how many checkpoints are loaded at a time.
    """
    # 4 bytes of each, and at most as much as in 16 bits for what is packed.
    weights = sum(prod(info.shape) * 6 for info in facts.tensors.values())
    return device == "cpu" and (LIBRARIES_BYTES + weights) * times <= _there(job)


def _there(job: JobFile) -> int:
    """Bytes of memory that the job may take."""
    return job.max_memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
