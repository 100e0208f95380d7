"""python -m tools.class_facts [TYPE…]     # write them anew, all or those named
python -m tools.class_facts --check     # exit 1 where transformers says something else
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

PATH = Path(__file__).resolve().parents[2] / "quantize_lib" / "architecture" / "class_facts.json"
EVERY = "*"
"""In the place of a type: what holds for every one."""


def text_of(entries: dict[str, Any]) -> str:
    """The file: a line for each type, in the order of their names."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False, separators=(',', ':'))}"
        for name, entry in sorted(entries.items())
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    import torch

    torch.set_num_threads(1)
    from tools.class_facts import entries, models

    known: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    made = {EVERY: entries.legacy_entry()}
    names = list(options.types or models.TYPES)
    for name in names:
        try:
            made[name] = entries.entry(name) if name in models.TYPES else entries.config_entry(name)
        except Exception as error:  # noqa: BLE001
            # A class that needs a package that is not here, or whose defaults do not fit each other.
            print(f"{name}: {type(error).__name__}: {str(error).strip()[:200]}", file=sys.stderr, flush=True)
            continue
        text = made[name].get("parts", {}).get(made[name].get("text"))
        if text and text not in models.TYPES and text not in names:
            names.append(text)
        if not options.check:
            PATH.write_text(text_of({**known, **made}), encoding="utf-8")
    different = [name for name, entry in made.items() if json.loads(json.dumps(entry)) != known.get(name)]
    print(f"{len(different)} different: {', '.join(different)}")
    return 1 if options.check and different else 0


if __name__ == "__main__":
    sys.exit(main())
