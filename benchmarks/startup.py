"""How long `validate` and `plan` take from start to end: median of ten, after one to warm the disk cache.

    python -m benchmarks.startup

Exit code 1 where a median is above the target of 0.4 s. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.targets import START_SECONDS

MANIFEST = ROOT / "examples" / "demo" / "quantize.yml"
RUNS = 10


def seconds(*arguments: str) -> float:
    """Wall time of one run of the command line.

    Raises:
        subprocess.CalledProcessError: where it fails; a failing start is no measurement.
    """
    command = [sys.executable, str(ROOT / "entrypoint.py"), *arguments]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    file: Path | None = parser.parse_args().json
    slow, found = False, {}
    print(f"{'command':<10} {'median':>8} {'fastest':>8} {'slowest':>8}   target {START_SECONDS} s")
    for command in ("--help", "validate", "plan"):
        arguments = [command] if command.startswith("-") else [command, str(MANIFEST)]
        seconds(*arguments)
        times = [seconds(*arguments) for _ in range(RUNS)]
        median = statistics.median(times)
        slow |= median > START_SECONDS
        found[command] = {"median": median, "fastest": min(times), "slowest": max(times)}
        print(f"{command:<10} {median:7.3f}s {min(times):7.3f}s {max(times):7.3f}s")
    if file:
        file.write_text(json.dumps({"runs": RUNS, "commands": found}, indent=2) + "\n", encoding="utf-8")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
