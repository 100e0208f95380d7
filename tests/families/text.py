"""Plain text without end: random sentences of a small vocabulary and numbers."""

from __future__ import annotations

import json
import random
from pathlib import Path

_VOCABULARY = """
the river runs past old stone houses and children watch boats carry grain wool timber down to sea while
traders count coins argue about weather price of bread salt iron every morning before bell rings twice a
small model
reads these words learns nothing at all but its numbers must stay same after rounding
"""


def sentences(count: int, seed: int) -> str:
    """That many of them, in one line."""
    source = random.Random(seed)
    known = _VOCABULARY.split()
    made = []
    for _ in range(count):
        words = [source.choice(known) for _ in range(source.randint(6, 14))]
        made.append(f"{' '.join([*words, str(source.randint(0, 9999))]).capitalize()}.")
    return " ".join(made)


def write_texts(folder: Path, seed: int) -> tuple[Path, Path]:
    """JSON lines to calibrate with, and held-out ones."""
    found = []
    for number, name in enumerate(("calibration", "held-out")):
        path = folder / f"{name}.jsonl"
        documents = [sentences(6, 1000 * (2 * seed + number) + index) for index in range(24)]
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
        found.append(path)
    return found[0], found[1]
