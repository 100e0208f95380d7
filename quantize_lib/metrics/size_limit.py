"""The limit on a checkpoint's size, which needs no text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from quantize_lib.metrics.figure import Figure
from quantize_lib.metrics.limit import Estimate, Limit
from quantize_lib.text import SIZE_PATTERN, format_bytes, parse_bytes


class SizeLimit(Limit):
    """Judged by the bytes of the weights on disk, as `after` of a figure; they have no error."""

    key = "max_size"
    number = "Limit on the weights on disk, in bytes."
    words: ClassVar[Mapping[str, Any]] = {
        "title": "Limit on size",
        "description": "How large the checkpoint's weights may be on disk, in kB, MB, GB or TB (a thousand, "
        "a million … bytes). It needs no held-out text.",
        "type": "string",
        "pattern": SIZE_PATTERN,
        "errorMessage": "not a size, as in 1.2 GB or 850 MB",
        "examples": ["1.2 GB"],
    }

    def parse(self, written: float | str) -> float:
        return float(parse_bytes(str(written)))

    def fault(self, figure: Figure) -> str | None:
        return f"the size is not known, and {self.key} is set" if figure.after is None else None

    def estimate(self, figure: Figure) -> Estimate:
        assert figure.after is not None
        return Estimate(figure.after, None)

    def said(self, figure: Figure, limit: float) -> str:
        value = self.estimate(figure).value
        shown, allowed = format_bytes(value), format_bytes(limit)
        # As many digits as it takes to differ from the limit.
        return f"the weights take {shown if shown != allowed or value == limit else f'{value:.0f} bytes'}"

    def shown(self, value: float) -> str:
        return format_bytes(value)


SIZE_LIMIT = SizeLimit()
