"""Whether a model's blocks can be taken one by one, from the first to the last."""

from __future__ import annotations

from collections.abc import Mapping

from quantize_lib.errors import SourceError
from quantize_lib.wording import joined

_SHARE = 4
"""A list with less than this part of the chosen one's matrices is a part beside the blocks."""
_OF_TYPE = {
    # Between blocks the model collects their outputs, and every later block reads all of them.
    "inkling2_text": "each of them reads what all before it returned",
}
"""What only running its code shows of a model type, with the reason."""


def check_walk(name: str, model_type: object, blocks: str, lists: Mapping[str, int]) -> None:
    """Refuse a model whose text goes through its blocks in another way.

    Args:
        name: of the model or its class, for the message.
        model_type: of the language model.
        blocks: the list of blocks that was chosen.
        lists: the matrices of every list of blocks.

    Raises:
        SourceError: with the reason.
    """
    others = [one for one, count in lists.items() if one != blocks and count * _SHARE >= lists[blocks]]
    reason = _OF_TYPE.get(str(model_type))
    if others:
        reason = f"it has several lists of them ({joined(sorted([blocks, *others]))})"
    if reason is not None:
        raise SourceError(
            f"{name} cannot be taken through its blocks one by one: {reason}",
            hint="Name a model of another type.",
        )
