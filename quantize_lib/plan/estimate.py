"""What a job will cost, from config and headers alone. The report says what it did cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

from quantize_lib.architecture.assignment import assign, on_disk
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.methods.settings import Settings
from quantize_lib.plan.cells import Job
from quantize_lib.plan.memory_needs import MemoryNeeds, memory_needs
from quantize_lib.source.facts import ModelFacts

_VALUE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8,
    "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
}  # fmt: skip
_NF4_BLOCK = 64
_NESTED_BLOCK = 256
_NF4_TABLE_BYTES = 16 * 4
_NESTED_TABLE_BYTES = 256 * 4
_HEADER_BYTES_PER_TENSOR = 120
_PICKLED = ".bin"


@dataclass(frozen=True, kw_only=True)
class JobEstimate:
    """The cost of one job.

    Attributes:
        job: the job's id.
        download_bytes: still to be fetched of the base model.
        disk_bytes: the download, every checkpoint's weights, and the copy of pickled ones that is quantized.
        peak_memory_bytes: resident memory of the process that quantizes.
        activation_bytes: the part of it that a job below a limit does without: activations, which can be on
            disk, and a block calibrated ahead.
        parameters: values of the base model's tensors, tied ones once.
        cells: bytes of each checkpoint's weights, by cell id.
        group_sizes: resolved group size, by cell id; -1 for one group per row, and where a method has none.
    """

    job: str
    download_bytes: int
    disk_bytes: int
    peak_memory_bytes: int
    activation_bytes: int
    parameters: int
    cells: Mapping[str, int]
    group_sizes: Mapping[str, int]


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
    cells = {cell.id: _checkpoint_bytes(cell.settings, facts, group_sizes[cell.id]) for cell in job.cells}
    return JobEstimate(
        job=job.id,
        download_bytes=facts.download_bytes,
        disk_bytes=facts.download_bytes + _copy_bytes(facts) + sum(cells.values()),
        peak_memory_bytes=needs.whole,
        activation_bytes=needs.hidden + needs.ahead,
        parameters=sum(prod(info.shape) for info in facts.tensors.values() if _is_parameter(info)),
        cells=cells,
        group_sizes=dict(group_sizes),
    )


def job_memory(job: Job, facts: ModelFacts) -> MemoryNeeds:
    """What a job needs in memory."""
    return memory_needs(
        facts,
        [cell.settings for cell in job.cells],
        calibration=job.calibration,
        evaluation=job.evaluate.perplexity,
    )


def _copy_bytes(facts: ModelFacts) -> int:
    """Pickled weights are read into safetensors first, beside the checkpoints (`run/unpickle.py`)."""
    pickled = any(info.file.endswith(_PICKLED) for info in facts.tensors.values())
    return facts.weight_bytes if pickled else 0


def _checkpoint_bytes(settings: Settings, facts: ModelFacts, group_size: int) -> int:
    quantized = assign(facts.layers, settings)
    replaced = {on_disk(layer, facts.tensors).name for layer, _, _ in quantized}
    kept = [info for name, info in facts.tensors.items() if name not in replaced and _is_parameter(info)]
    total = sum(_tensor_bytes(info) for info in kept) + len(kept) * _HEADER_BYTES_PER_TENSOR
    for layer, bits, wanted in quantized:
        size = group_size if wanted == "auto" else wanted
        groups = 1 if size == -1 else ceil(layer.in_features / size)
        total += _layer_bytes(settings, layer, bits, groups)
    return total


def _layer_bytes(settings: Settings, layer: LayerInfo, bits: int, groups: int) -> int:
    values = layer.in_features * layer.out_features
    tensors = 4
    match settings.method:
        case "gptq":
            zeros_and_scales = groups * layer.out_features * (bits / 8 + 2)
            size = values * bits / 8 + zeros_and_scales + 4 * layer.in_features
        case "awq":
            size = values * bits / 8 + groups * layer.out_features * (bits / 8 + 2)
        case "bitsandbytes" if bits == 4:
            blocks = ceil(values / _NF4_BLOCK)
            nested = blocks + 4 * ceil(blocks / _NESTED_BLOCK) + _NESTED_TABLE_BYTES
            size = values / 2 + (nested if settings.double_quant else 4 * blocks) + _NF4_TABLE_BYTES
            tensors = 6
        case "bitsandbytes":
            size = values + 4 * layer.out_features
    return ceil(size) + tensors * _HEADER_BYTES_PER_TENSOR


def _is_parameter(info: TensorInfo) -> bool:
    """GPT-2's checkpoints hold causal masks (four dimensions) that no loader takes."""
    return len(info.shape) <= 2


def _tensor_bytes(info: TensorInfo) -> int:
    return prod(info.shape) * _VALUE_BYTES.get(info.dtype, 1)
