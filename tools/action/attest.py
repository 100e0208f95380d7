"""What of a run is signed by GitHub's attestation, and where the signature goes. Standard library only."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.attestation import ATTESTATION_FILE

RECORD_FILE = "quantization_report.json"
"""As `report.records` has it, which needs more than the standard library."""


def checksums(output: Path, cells: Iterable[Mapping[str, Any]]) -> str:
    """What actions/attest takes as `subject-checksums`: the report of each checkpoint that met its gate.

    A report names the digests of all other files, so that nothing else need be signed.
    """
    return "".join(
        f"{hashlib.sha256((output / path / RECORD_FILE).read_bytes()).hexdigest()}  {path}/{RECORD_FILE}\n"
        for path in _signed(cells)
    )


def attach(bundle: Path, output: Path, cells: Iterable[Mapping[str, Any]]) -> None:
    """Put the signature beside each of those reports: one statement is about all of them."""
    for path in _signed(cells):
        shutil.copyfile(bundle, output / path / ATTESTATION_FILE)


def _signed(cells: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The folders of the cells that met their gate, relative to the output folder."""
    return (cell["path"] for cell in cells if cell["status"] == "built" and cell["path"] is not None)
