"""Moved to `quantize_lib.retry`; this name goes with the next change of its last users."""

from __future__ import annotations

from quantize_lib.retry import BadAnswerError, Retry, asked_wait, is_conflict, is_passing, parsed

__all__ = ["BadAnswerError", "Retry", "asked_wait", "is_conflict", "is_passing", "parsed"]
