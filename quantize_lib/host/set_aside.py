"""Checkpoints whose tensors are written and that failed a check after it: kept, marked, and taken up again.

Hours of quantizing are not lost to a library that cannot load the result today. Such a checkpoint lies in the
output folder like a good one, its own record says `failed` and why, nothing publishes it, and the next run of
the same cell makes the checks again without quantizing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from quantize_lib.errors import PublishError
from quantize_lib.files import read_json, sha256_file, write_json
from quantize_lib.host.output_folder import replace_folder
from quantize_lib.job.result import FailedCell
from quantize_lib.publish.verify import check_files, verify_checkpoint
from quantize_lib.report import checkpoint_record
from quantize_lib.report.records import RECORD_FILE, CellRecord

_FAILED: Final = "failed"


def set_aside(
    record: CellRecord,
    failure: FailedCell,
    checkpoint: Path,
    output: Path,
    state: Path,
    *,
    code: Collection[str] = (),
) -> CellRecord:
    """Put a checkpoint that failed a check into the output folder, marked.

    Args:
        record: of the cell, without figures: what a reload did not reproduce does not count.
        checkpoint: where the quantizing process left it; what it may hold was looked at.
        state: the run's `.state`.
        code: names of Python files that it holds.

    Returns:
        The record with the failure, the path and the hash of every file.
    """
    hashes = {
        name: sha256_file(checkpoint / name)
        for name in check_files(checkpoint, code=code)
        if name != RECORD_FILE
    }
    record = replace(
        record,
        status=_FAILED,
        error=failure.error,
        code=failure.code,
        path=record.id,
        files=hashes,
    )
    mark = {"status": _FAILED, "error": failure.error, "code": str(failure.code)}
    write_json(checkpoint / RECORD_FILE, {**checkpoint_record(record), **mark})
    replace_folder(checkpoint, output / record.id, state)
    return record


def is_set_aside(record: object) -> bool:
    """Whether a checkpoint's own record says that it failed a check."""
    return isinstance(record, dict) and record.get("status") == _FAILED


def take_up(cell_id: str, fingerprint: str, output: Path, target: Path) -> None:
    """Bring a checkpoint that was set aside back to where the quantizing process looks for it.

    Nothing is done where there is none, it is of another fingerprint, or its files are not those that were
    recorded.

    Args:
        output: the output folder.
        target: the cell's folder in the job's.
    """
    folder = output / cell_id
    try:
        record = read_json(folder / RECORD_FILE)
        if target.exists() or not is_set_aside(record) or record["fingerprint"] != fingerprint:
            return
        verify_checkpoint(folder, record["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, PublishError):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    (target / RECORD_FILE).unlink()
