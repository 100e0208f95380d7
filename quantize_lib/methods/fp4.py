"""What methods have in common whose weights are E2M1 numbers with scales of small groups."""

from __future__ import annotations

from quantize_lib.methods.entry import InputShape, Method
from quantize_lib.methods.settings import Settings


class Fp4Method(Method):
    """A method that sees weights alone, and searches a scale for each group of them."""

    def working_bytes(self, shape: InputShape, settings: Settings) -> int:
        # The search works in pieces; beside it are codes and what they mean.
        return 2 * shape.largest
