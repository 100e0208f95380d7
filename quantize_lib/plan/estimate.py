"""What a job will cost, from config and headers alone. The report says what it did cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, prod

from quantize_lib.plan.layers import assign
from quantize_lib.types import Job, LayerInfo, ModelFacts, Settings, TensorInfo, TextSpec

BASELINE_BYTES = 700_000_000
"""Of the libraries: 541 MB were measured with torch, transformers, bitsandbytes and GPTQModel imported on a
CPU; the rest is for what they allocate while they work."""

_FLOAT32 = 4
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
_SHARED_INPUTS = {
    "q_proj": "qkv",
    "k_proj": "qkv",
    "v_proj": "qkv",
    "gate_proj": "gate_up",
    "up_proj": "gate_up",
}


@dataclass(frozen=True, kw_only=True)
class JobEstimate:
    """The cost of one job.

    Attributes:
        job: the job's id.
        download_bytes: still to be fetched of the base model.
        disk_bytes: the download and every checkpoint's weights.
        peak_memory_bytes: resident memory of the process that quantizes.
        parameters: values of the base model's tensors, tied ones once.
        cells: bytes of each checkpoint's weights, by cell id.
        group_sizes: resolved group size, by cell id; -1 for one group per row, and where a method has none.
    """

    job: str
    download_bytes: int
    disk_bytes: int
    peak_memory_bytes: int
    parameters: int
    cells: Mapping[str, int]
    group_sizes: Mapping[str, int]


def estimate_job(job: Job, facts: ModelFacts, group_sizes: Mapping[str, int]) -> JobEstimate:
    """Estimate a job.

    The weights of a checkpoint are counted tensor by tensor as the formats lay them out. Peak memory is

        700 MB for the libraries
      + 3 · block (its weights, a cell's working copy, the cell's result), float32
      + 2 · Σ in² · 4 over the block's distinct inputs (statistics and their factor), where a cell needs them
      + calibration activations: samples · sequence · hidden · 4, where a cell needs them
      + evaluation activations: samples · sequence · hidden · 4 · (cells + 1)
      + what stands outside the blocks (embedding, head), float32
      + two sequences' logits: 2 · sequence · vocabulary · 4

    which does not depend on the number of blocks.

    Args:
        job: the cells of one model.
        facts: the model's config and headers.
        group_sizes: resolved group size by cell id.
    """
    cells = {cell.id: _checkpoint_bytes(cell.settings, facts, group_sizes[cell.id]) for cell in job.cells}
    return JobEstimate(
        job=job.id,
        download_bytes=facts.download_bytes,
        disk_bytes=facts.download_bytes + sum(cells.values()),
        peak_memory_bytes=_peak_memory(job, facts),
        parameters=sum(prod(info.shape) for info in facts.tensors.values() if _is_parameter(info)),
        cells=cells,
        group_sizes=dict(group_sizes),
    )


def _checkpoint_bytes(settings: Settings, facts: ModelFacts, group_size: int) -> int:
    quantized = assign(facts.layers, settings)
    replaced = {_on_disk(layer, facts.tensors).name for layer, _, _ in quantized}
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


def _peak_memory(job: Job, facts: ModelFacts) -> int:
    blocks: dict[str, list[LayerInfo]] = defaultdict(list)
    for layer in facts.layers:
        blocks[_block(layer.name)].append(layer)
    largest = max(sum(layer.in_features * layer.out_features for layer in block) for block in blocks.values())
    hidden = facts.layers[0].in_features
    inside = {_on_disk(layer, facts.tensors).name for layer in facts.layers}
    outside = sum(
        prod(info.shape) for name, info in facts.tensors.items() if name not in inside and _is_parameter(info)
    )
    total = BASELINE_BYTES + 3 * largest * _FLOAT32 + outside * _FLOAT32
    if any(cell.settings.method != "bitsandbytes" for cell in job.cells):
        statistics = max(_statistics_values(block) for block in blocks.values())
        total += 2 * statistics * _FLOAT32 + _activations(job.calibration, hidden)
    if job.evaluate.perplexity is not None:
        vocabulary = int(facts.config["vocab_size"])
        total += _activations(job.evaluate.perplexity, hidden) * (len(job.cells) + 1)
        total += 2 * job.evaluate.perplexity.sequence_length * vocabulary * _FLOAT32
    return total


def _statistics_values(block: Iterable[LayerInfo]) -> int:
    """in² summed over the inputs that the block's layers do not share."""
    inputs: dict[str, int] = {}
    for layer in block:
        last = layer.name.rpartition(".")[2]
        inputs[_SHARED_INPUTS.get(last, layer.name)] = layer.in_features
    return sum(size * size for size in inputs.values())


def _activations(text: TextSpec, hidden: int) -> int:
    return text.samples * text.sequence_length * hidden * _FLOAT32


def _block(name: str) -> str:
    """The block that a layer belongs to: `model.layers.3` of `model.layers.3.mlp.up_proj`."""
    parts = name.split(".")
    index = next(i for i, part in enumerate(parts) if part.isdecimal())
    return ".".join(parts[: index + 1])


def _on_disk(layer: LayerInfo, tensors: Mapping[str, TensorInfo]) -> TensorInfo:
    """The layer's weight; a checkpoint may lack the base model's prefix, the first part of the name."""
    name = f"{layer.name}.weight"
    return tensors[name] if name in tensors else tensors[name.partition(".")[2]]


def _is_parameter(info: TensorInfo) -> bool:
    """GPT-2's checkpoints hold causal masks (four dimensions) that no loader takes."""
    return len(info.shape) <= 2


def _tensor_bytes(info: TensorInfo) -> int:
    return prod(info.shape) * _VALUE_BYTES.get(info.dtype, 1)
