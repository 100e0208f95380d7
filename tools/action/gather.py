"""Gathers the reports of a matrix into one summary and one exit code.

    python tools/action/gather.py MATRIX.json FOLDER OUTPUT    the plan, and the jobs' reports below FOLDER

Run it with the tool's own environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from quantize_lib.cli.console import append_summary
from quantize_lib.cli.console.github import GithubReporter, neutralise
from quantize_lib.errors import ExitCode, QuantizerError
from quantize_lib.report import (
    exit_code,
    read_report,
    record_to_json,
    summary_markdown,
    summary_table,
    write_report,
)
from quantize_lib.report.records import CellRecord
from tools.action.github import annotate, set_outputs
from tools.action.main import result_outputs


def read_reports(folder: Path) -> dict[str, CellRecord]:
    """The cells of every report below the folder, by id; a report that cannot be read is an annotation."""
    records: dict[str, CellRecord] = {}
    for path in sorted(folder.rglob("report.json")):
        try:
            records.update((record.id, record) for record in read_report(path.parent))
        except QuantizerError as error:
            annotate("error", f"{path.parent.name}: {error}")
    return records


def expected_cells(matrix: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of a plan's cells, in its order."""
    return tuple(cell for entry in matrix["include"] for cell in entry["cells"].split())


def gather(folder: Path, output: Path, matrix: Mapping[str, Any]) -> int:
    """Write `output/report.json`, the summary and the outputs.

    Returns:
        The exit code of all jobs together. A cell that no report knows has failed.
    """
    found = read_reports(folder)
    wanted = expected_cells(matrix)
    records = tuple(found[cell] for cell in wanted if cell in found)
    missing = tuple(cell for cell in wanted if cell not in found)
    output.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    report = write_report(output, records, started=now, finished=now, command="quantize.yml")
    print(neutralise(summary_table(records)))
    append_summary(summary_markdown(records) + _missing(missing), os.environ, GithubReporter(sys.stdout))
    for cell in missing:
        annotate("error", f"{cell}: its job left no report")
    results = result_outputs([record_to_json(record) for record in records])
    counts = json.loads(results["counts"])
    counts["failed"] += len(missing)
    results["counts"] = json.dumps(counts)
    results["failed"] = " ".join([*results["failed"].split(), *missing])
    set_outputs(os.environ, {"report": str(report.absolute()), **results})
    return ExitCode.CELL_FAILED if missing else exit_code(records)


def _missing(cells: Sequence[str]) -> str:
    return "".join(f"\n- **{cell}**: its job left no report" for cell in cells)


if __name__ == "__main__":
    plan, reports, gathered = map(Path, sys.argv[1:])
    sys.exit(gather(reports, gathered, json.loads(plan.read_text(encoding="utf-8"))))
