"""What metrics add to the manifest's schema."""

from __future__ import annotations

from typing import Any

from quantize_lib.metrics import LIMITS, MEANS, listed
from quantize_lib.plan.cells import HELD_OUT
from quantize_lib.schemas import put_owned


def complete_limits(schema: dict[str, Any]) -> None:
    """Write the metrics' limits, and what the held-out text is for, into the schema."""
    keys = schema["$defs"]["evaluate"]["properties"]
    keys[HELD_OUT]["description"] = (
        f"Text on which {listed(MEANS.values())} are measured. Use other text than for calibration."
    )
    put_owned(
        keys, "x-metrics", {key: (limit.words, [metric.name]) for key, (metric, limit) in LIMITS.items()}
    )
