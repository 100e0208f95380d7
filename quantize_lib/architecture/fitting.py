"""Group sizes that kernels take."""

from __future__ import annotations

FITTING_GROUP_SIZES = (128, 64, 32, 16)
"""Group sizes that the kernels take, in the order in which `auto` tries them."""
