"""What a job will cost, from config and headers alone. The report says what it did cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from quantize_lib.architecture.assignment import assign, format_of, whole_model
from quantize_lib.methods.common import is_automatic
from quantize_lib.methods.settings import Settings
from quantize_lib.plan.automatic_bits import choice_of
from quantize_lib.plan.cells import Job
from quantize_lib.plan.checkpoint_size import kept_bytes, layer_bytes
from quantize_lib.plan.memory_needs import MemoryNeeds, Share, memory_needs
from quantize_lib.plan.serving import Serving, serving
from quantize_lib.plan.statistics_size import statistics_bytes
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.pickled import is_pickled


@dataclass(frozen=True, kw_only=True)
class JobEstimate:
    """The cost of one job.

    Attributes:
        job: the job's id.
        download_bytes: still to be fetched of the base model.
        disk_bytes: the download, every checkpoint's weights, and the copy of pickled ones that is quantized.
        peak_memory_bytes: resident memory of the process that quantizes.
        activation_bytes: the part of it that a job below a limit does without: activations, which can be on
            disk, a block calibrated ahead, and a second cell at work.
        state_bytes: at most in a state store: the checkpoints, and activations twice while new ones take the
            place of the old.
        parameters: values of the base model's tensors, tied ones once.
        cells: bytes of each checkpoint's weights, by cell id.
        group_sizes: resolved group size, by cell id; -1 for one group per row, and where a method has none.
        formats: name of the format that is taken, by cell id.
        serving: what servers need of each checkpoint, by cell id.
        statistics_bytes: what each shard of the calibration text would leave on disk; 0 where no method
            needs any.
    """

    job: str
    download_bytes: int
    disk_bytes: int
    peak_memory_bytes: int
    activation_bytes: int
    state_bytes: int
    parameters: int
    cells: Mapping[str, int]
    group_sizes: Mapping[str, int]
    formats: Mapping[str, str]
    serving: Mapping[str, Serving] = field(default_factory=dict)
    statistics_bytes: int = 0


def estimate_job(job: Job, facts: ModelFacts, group_sizes: Mapping[str, int]) -> JobEstimate:
    """Estimate a job.

    The weights of a checkpoint are counted tensor by tensor as the formats lay them out; for memory see
    `plan.memory`.

    Args:
        job: the cells of one model.
        facts: the model's config and headers.
        group_sizes: resolved group size by cell id.
    """
    needs = job_memory(job, facts)
    cells = {cell.id: checkpoint_bytes(cell.settings, facts, group_sizes[cell.id]) for cell in job.cells}
    return JobEstimate(
        job=job.id,
        download_bytes=facts.download_bytes,
        disk_bytes=facts.download_bytes + _copy_bytes(facts) + sum(cells.values()),
        peak_memory_bytes=needs.whole,
        activation_bytes=needs.whole - needs.least,
        state_bytes=2 * needs.hidden + sum(cells.values()),
        parameters=sum(prod(info.shape) for info in facts.tensors.values()),
        cells=cells,
        group_sizes=dict(group_sizes),
        formats={cell.id: format_of(facts, cell.settings).name for cell in job.cells},
        serving={
            cell.id: serving(facts, cell.settings, group_size=group_sizes[cell.id]) for cell in job.cells
        },
        statistics_bytes=statistics_bytes(facts) if job.calibrated else 0,
    )


def job_memory(job: Job, facts: ModelFacts, share: Share = "all") -> MemoryNeeds:
    """What a job needs in memory.

    Args:
        share: of the job of a shard, `job.calibration` is its own part of the text.
    """
    return memory_needs(
        facts,
        [cell.settings for cell in job.cells],
        calibration=job.calibration,
        evaluation=job.evaluate.carried,
        share=share,
    )


def _copy_bytes(facts: ModelFacts) -> int:
    """Pickled weights are read into safetensors first, beside the checkpoints (`run/unpickle.py`)."""
    pickled = any(is_pickled(info.file) for info in facts.tensors.values())
    return facts.weight_bytes if pickled else 0


def checkpoint_bytes(settings: Settings, facts: ModelFacts, group_size: int) -> int:
    """About how large a checkpoint's weights will be.

    Args:
        group_size: as resolved.
    """
    if is_automatic(settings):
        return choice_of(facts, settings).checkpoint_bytes
    chosen = format_of(facts, settings)
    whole = chosen.whole_bytes(whole_model(facts, settings), settings)
    if whole is not None:
        return whole
    quantized = assign(facts, settings)
    return kept_bytes(facts, [layer for layer, *_ in quantized]) + sum(
        layer_bytes(layer, bits, group_size if wanted == "auto" else wanted, chosen=chosen, settings=settings)
        for layer, bits, wanted in quantized
    )
