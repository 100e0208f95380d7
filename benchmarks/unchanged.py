"""How long `plan --changed-only` and `run` take where all of a thousand cells are published unchanged.

    python -m benchmarks.unchanged

The Hub is that of the tests, on the loopback address: it answers without delay, but on the same processor.
Exit code 1 where a median is above the target of 10 s, or more was asked for than each cell, model and data
set once. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.targets import UNCHANGED_SECONDS
from tests.support.fleet import UNCHANGED, asked, fleet, publish_all, words
from tests.support.hub import Hub, serve
from tests.support.small_runs import command

MODELS = 10
CELLS = 1000
REQUESTS = CELLS + MODELS + 1
"""The one is the data set."""
RUNS = 3


def measure(hub: Hub, folder: Path, manifest: Path, which: str) -> tuple[float, int]:
    """Wall time of one command from start to end, and the requests that it made.

    Raises:
        RuntimeError: where it fails; a failing command is no measurement.
    """
    hub.requests.clear()
    shutil.rmtree(folder / "out", ignore_errors=True)
    start = time.perf_counter()
    done = command(which, manifest, *UNCHANGED[which], **words(hub, folder))
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr)
    return seconds, sum(asked(hub).values())


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    file: Path | None = parser.parse_args().json
    failed, found = False, {}
    with serve(Hub()) as hub, tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        manifest = fleet(hub, folder, models=MODELS, cells=CELLS // MODELS)
        publish_all(hub, manifest)
        print(
            f"{CELLS} unchanged cells of {MODELS} models; "
            f"target {UNCHANGED_SECONDS:.0f} s, {REQUESTS} requests"
        )
        print(f"{'command':<8} {'median':>8} {'fastest':>8} {'slowest':>8}   requests")
        for which in UNCHANGED:
            times, counts = zip(*(measure(hub, folder, manifest, which) for _ in range(RUNS)), strict=True)
            median = statistics.median(times)
            found[which] = {
                "median": median,
                "fastest": min(times),
                "slowest": max(times),
                "requests": max(counts),
            }
            failed |= median > UNCHANGED_SECONDS or max(counts) > REQUESTS
            print(f"{which:<8} {median:7.2f}s {min(times):7.2f}s {max(times):7.2f}s   {max(counts)}")
    if file:
        result = {"cells": CELLS, "models": MODELS, "runs": RUNS, "commands": found}
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
