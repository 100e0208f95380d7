"""compressed-tensors' `nvfp4-pack-quantized` and `mxfp4-pack-quantized`: two codes of 4 bits in a byte.

Not through the package, which takes numbers instead of codes (a test compares the bytes).
"""

from __future__ import annotations

from torch import Tensor


def pack_pairs(codes: Tensor) -> Tensor:
    """Pack neighbouring inputs, the first in the lower half.

    Args:
        codes: uint8 (out, in), 0 .. 15, an even number of inputs.

    Returns:
        uint8 (out, in / 2).
    """
    return codes[:, ::2] | (codes[:, 1::2] << 4)
