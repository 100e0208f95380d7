"""How many bytes the statistics take that a shard of the calibration text leaves, from headers alone."""

from __future__ import annotations

from quantize_lib.architecture.blocks import inputs_by_block
from quantize_lib.sizing import FLOAT32_BYTES
from quantize_lib.source.facts import ModelFacts


def statistics_bytes(facts: ModelFacts) -> int:
    """One triangle of XᵀX and the sum of |x| of every distinct input of the model's layers, in float32.

    It is the same for every shard: sums do not grow with the text.
    """
    widths = [group[0].in_features for block in inputs_by_block(facts.layers) for group in block]
    return sum(width * (width + 1) // 2 + width for width in widths) * FLOAT32_BYTES
