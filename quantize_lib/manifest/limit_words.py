"""What limits and metrics add to the manifest's schema."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from quantize_lib.metrics import LIMITS, MEANS, SIZE_LIMIT, listed
from quantize_lib.plan.cells import CONVERSATIONS, HELD_OUT
from quantize_lib.schemas import put_owned

_OF_THE_FIRST = "sequence_length"
"""All held-out texts go through the blocks together, in sequences of one length."""


def complete_limits(schema: dict[str, Any]) -> None:
    """Write the limits, and what the held-out text is for, into the schema."""
    keys = schema["$defs"]["evaluate"]["properties"]
    keys[HELD_OUT]["description"] = (
        f"Text on which {listed(MEANS.values())} are measured. Use other text than for calibration."
    )
    limits = {key: (limit.words, [metric.name]) for key, (metric, limit) in LIMITS.items()}
    put_owned(keys, "x-metrics", limits)
    put_owned(keys[CONVERSATIONS]["properties"], "x-metrics", limits)
    keys[SIZE_LIMIT.key] = dict(SIZE_LIMIT.words)
    text, asked = deepcopy(schema["$defs"]["text"]), keys[HELD_OUT]
    del text["properties"][_OF_THE_FIRST]
    put_owned(text["properties"], "x-metrics", limits)
    schema["$defs"]["held_out"] = {
        **text,
        "title": "Further held-out text",
        "description": "One of `dataset`, `files` and `texts`, how much of it, and the limits on it. Its "
        f"sequences are as long as those of `{HELD_OUT}`.",
        **{key: deepcopy(asked[key]) for key in ("anyOf", "errorMessage")},
    }
