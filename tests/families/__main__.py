"""Take tiny models of every type through the whole command with every method, and judge what comes of it.

python -m tests.families                             # every type
python -m tests.families llama qwen3_moe             # these
python -m tests.families --methods gptq4,awq4        # with these methods alone

A line per type and method: ok, partial (with allow_partial alone), refused (before anything was computed,
with the reason), or WRONG. What came of every type stands in quantize_lib/architecture/outcomes.json,
from which docs/reference/models.md has its table: write it with --record, then run `python -m tools.docs`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.families import warm

METHODS = {
    "gptq4": ("gptq", 4),
    "gptq8": ("gptq", 8),
    "awq4": ("awq", 4),
    "bnb4": ("bitsandbytes", 4),
    "bnb8": ("bitsandbytes", 8),
    "fp88": ("fp8", 8),
    "nvfp44": ("nvfp4", 4),
    "mxfp44": ("mxfp4", 4),
    "gguf4": ("gguf", 4),
}


def main(arguments: list[str]) -> int:
    """Exit 1 where something is wrong, with --check where it is not as recorded."""
    options = _options(arguments)
    warm.warm_up()
    from quantize_lib.architecture.outcomes import RECORD
    from tests.families.record import cell_of, differences, write_record
    from tests.families.sweep import Asked, sweep

    work = Path(tempfile.mkdtemp(prefix="families-"))
    started = time.monotonic()
    asked = Asked(
        models=options.models,
        cells=[METHODS[name] for name in options.methods.split(",")],
        dtype=options.dtype,
        seed=options.seed,
        sizes={key: int(number) for key, _, number in (size.partition("=") for size in options.size)},
    )
    outcomes = []
    for found in sweep(options.types, work, asked, processes=options.processes):
        for outcome in found:
            outcomes.append(outcome)
            print(outcome.line, flush=True)
        if options.record:
            write_record(found)
    for cell in options.methods.split(","):
        counts = Counter(outcome.result for outcome in outcomes if outcome.cell == cell)
        print(f"{cell}: " + ", ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    print(f"{time.monotonic() - started:.0f} s")
    if options.keep:
        print(f"kept: {work}")
    else:
        shutil.rmtree(work)
    if options.json is not None:
        rows = [{**asdict(one), "cell": one.cell, "word": cell_of(one)} for one in outcomes]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.check:
        different = list(differences(outcomes))
        print("\n".join(different) or f"{RECORD.name} says the same")
        return int(bool(different))
    return int(any(outcome.result == "WRONG" for outcome in outcomes))


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.families", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("types", nargs="*", help="default: every type")
    parser.add_argument(
        "--models", type=Path, help="has a model folder for each type; default: they are made"
    )
    parser.add_argument(
        "--dtype", help="of the models that are made; default: bfloat16, float16 and float32 in turn"
    )
    parser.add_argument("--methods", default=",".join(METHODS), help=f"default: {','.join(METHODS)}")
    parser.add_argument("--processes", type=int, default=2, help="how many types at a time; default: 2")
    parser.add_argument("--seed", type=int, default=0, help="of models and texts; default: 0")
    parser.add_argument(
        "--size", action="append", default=[], metavar="KEY=NUMBER", help="a config key with another size"
    )
    parser.add_argument("--json", type=Path, help="write the outcomes to this file")
    parser.add_argument("--record", action="store_true", help="write the outcomes into outcomes.json")
    parser.add_argument("--check", action="store_true", help="exit 1 where outcomes.json says something else")
    parser.add_argument("--keep", action="store_true", help="leave the runs' folders and logs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
