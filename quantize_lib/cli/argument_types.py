"""Values that more than one command takes."""

from __future__ import annotations

import argparse

DEVICES = ("auto", "cpu", "cuda", "mps")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)
