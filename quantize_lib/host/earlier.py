"""What an earlier run left in the output folder."""

from __future__ import annotations

from pathlib import Path

from quantize_lib.files import read_json
from quantize_lib.host.set_aside import is_set_aside
from quantize_lib.report import record_from_json
from quantize_lib.report.records import RECORD_FILE, CellRecord


def earlier_record(cell_id: str, output: Path) -> CellRecord | None:
    """What an earlier run built of a cell, as the checkpoint itself records it.

    The report would not do: a run of other cells into the same folder has written it anew.
    """
    try:
        data = read_json(output / cell_id / RECORD_FILE)
        if is_set_aside(data):
            return None
        return record_from_json({**data, "status": "built", "error": None, "path": cell_id, "commit": None})
    except (OSError, ValueError, KeyError, TypeError):
        # Not ours, or of another version of this tool: it is made again.
        return None
