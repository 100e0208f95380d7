"""What of a block is no linear layer to quantize, judged by a tensor's name and shape."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping

from quantize_lib.architecture.blocks import of_all_blocks

LEAST = 32
"""A layer with fewer inputs or outputs is not worth its scales, and no kernel takes it."""
LEAST_GROUP = 16
"""Inputs that share a scale at the least; what it does not divide has no group size."""

_ROUTER = re.compile(r"(^|\.)\w*router\w*(\.|$)")
_ROUTER_BESIDE_EXPERTS = ("classifier", "gate", "wg")
"""Last names of routers that only say so beside experts: dense models call layers so, too."""
_INDEXER = re.compile(r"(^|\.)(indexer|compressor|index_\w+)(\.|$)")
_CONVOLUTION = re.compile(r"conv")
_NORM = re.compile(r"(^|\.|_)(ln(_\w+)?|\w*norm_?\d*)(\.\w+)?$")
_EMBEDDING = re.compile(r"embed|relative_attention_bias|(^|\.)shard_\d+$")
_HEAD = re.compile(r"(^|\.)(lm_head|eh_proj|shared_head)(\.|$)")
_EXCEPTIONS = (
    # The scan reads the weight itself; the layer is never called (Mamba and its descendants).
    (re.compile(r"(^|\.)dt_proj$"), "a recurrence reads its weight"),
    # DeepSeek-V4 multiplies groups of channels by matrices of their own, which lie below each other.
    (re.compile(r"(^|\.)wo_a$"), "a product in groups"),
    # Zamba2 shares one block's weights among places and adds a low-rank product of its own at each.
    (re.compile(r"_adapter_list(\.|$)"), "an adapter of shared weights"),
    # XLM-V's and X-MOD's adapters are chosen by language; text of one language reaches one of them.
    (re.compile(r"(^|\.)adapter_modules(\.|$)"), "an adapter of one language"),
)
"""What structure cannot tell, with the reason."""


def is_router(module: str, beside: Collection[str]) -> bool:
    """Whether a module chooses among experts.

    Args:
        module: its name, in the block or in full.
        beside: names of the modules in the same place.
    """
    if _ROUTER.search(module):
        return True
    last = module.rpartition(".")[2]
    return last in _ROUTER_BESIDE_EXPERTS and any("expert" in name for name in beside)


def reason_to_keep(module: str, in_features: int, out_features: int, beside: Collection[str]) -> str | None:
    """Why a matrix of a block stays in full precision; None where it is a layer to quantize.

    Args:
        module: its name, in the block or in full.
        beside: names of the modules in the same place.
    """
    if is_router(module, beside):
        return "a router"
    if _INDEXER.search(module):
        return "an indexer"
    last = module.rpartition(".")[2]
    if _NORM.search(module):
        return "a norm"
    if _CONVOLUTION.search(last):
        return "a convolution"
    if _EMBEDDING.search(module):
        return "an embedding"
    if _HEAD.search(module):
        return "an extra prediction head"
    for pattern, reason in _EXCEPTIONS:
        if pattern.search(module):
            return reason
    if min(in_features, out_features) < LEAST:
        return "too small"
    if in_features % LEAST_GROUP:
        return f"its {in_features} inputs are no multiple of {LEAST_GROUP}"
    return None


def by_reason(kept: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of what stays in full precision, with a `*` for each number, under each reason.

    Args:
        kept: reasons by name, as `Architecture.kept` has them.
    """
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for name, reason in kept.items():
        found[reason][of_all_blocks(name)] = None
    return {reason: sorted(names) for reason, names in sorted(found.items())}
