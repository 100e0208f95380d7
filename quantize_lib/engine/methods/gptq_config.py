"""The words with which a GPTQ checkpoint tells its loaders what it is.

Read by transformers' GPTQConfig and optimum (bits, group_size, desc_act, sym, checkpoint_format,
block_name_to_quantize, modules_in_block_to_quantize), by GPTQModel and by vLLM (these two also `dynamic`).
optimum knows one bit width and group size: a checkpoint with overrides loads in GPTQModel and vLLM only.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

from quantize_lib import __version__
from quantize_lib.engine.block import CellContext

_V1_WITH_ZEROS = "gptqmodel:0.9.0"
"""From this version on GPTQModel's zero points cannot overflow when one is added, and its loader takes format
`gptq` with sym=False only from who names it. Ours cannot either: they are at least 1."""


def gptq_config(context: CellContext, *, damping: float) -> dict[str, Any]:
    """`quantization_config` for config.json.

    Args:
        context: what the cell quantized.
        damping: what was added to each entry of the Hessian's diagonal, as a fraction of it.
    """
    settings = context.settings
    quantizer = [f"model-quantizer:{__version__}"]
    if not settings.sym:
        quantizer.append(_V1_WITH_ZEROS)
    config: dict[str, Any] = {
        "quant_method": "gptq",
        "bits": settings.bits,
        "group_size": context.group_size,
        "desc_act": settings.desc_act,
        "sym": settings.sym,
        "checkpoint_format": "gptq",
        "lm_head": False,
        "damp_percent": damping,
        "true_sequential": False,
        "act_group_aware": False,
        "block_name_to_quantize": context.blocks,
        "meta": {"quantizer": quantizer},
    }
    if settings.bits == 4 and context.group_size == -1 and not settings.sym:
        # GPTQModel 7.6.0 picks TorchFusedLinear for this on a CPU, which ignores the zero points.
        config["backend"] = "gptq_torch"
    if context.kept:
        # Full names: optimum compares by ending, and a layer kept in one block may be quantized in another.
        config["modules_in_block_to_quantize"] = [list(context.quantized)]
    dynamic = _dynamic(context)
    if dynamic:
        config["dynamic"] = dynamic
    return config


def _dynamic(context: CellContext) -> dict[str, dict[str, int]]:
    """Patterns for kept layers (`-:`) and for overridden ones (`+:`), each matching whole names alone."""
    dynamic: dict[str, dict[str, int]] = {
        f"-:{pattern}": {} for pattern in _patterns(context.kept, context.blocks)
    }
    by_values: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for name in context.quantized:
        # The first override that matches counts, as when the layers were assigned.
        override = next((o for o in context.settings.overrides if fnmatchcase(name, o.modules)), None)
        if override is not None:
            values = {"bits": override.bits, "group_size": override.group_size}
            key = tuple((word, value) for word, value in values.items() if value is not None)
            by_values.setdefault(key, []).append(name)
    for key, names in by_values.items():
        dynamic.update({f"+:{pattern}": dict(key) for pattern in _patterns(names, context.blocks)})
    return dynamic


def _patterns(names: tuple[str, ...] | list[str], blocks: str) -> list[str]:
    """One regular expression per layer of a block, over the blocks in which it is named."""
    indices: dict[str, list[str]] = {}
    for name in names:
        index, _, layer = name.removeprefix(f"{blocks}.").partition(".")
        indices.setdefault(layer, []).append(index)
    prefix = re.escape(blocks)
    return [rf"^{prefix}\.(?:{'|'.join(found)})\.{re.escape(layer)}$" for layer, found in indices.items()]
