"""Values that more than one command takes."""

from __future__ import annotations

import argparse
import re

MAX_SHARDS = 10_000
DEVICES = ("auto", "cpu", "cuda", "mps")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def shard(text: str) -> tuple[int, int]:
    """`2/3` as (2, 3): a part and the number of parts."""
    found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text, re.ASCII)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count <= MAX_SHARDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a shard, as in 2/3: the second of three parts; they begin with 1"
        )
    return number, count
