"""A checkpoint whose report says everything that `verify` compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from quantize_lib.files import sha256_file, sha256_json, write_json
from quantize_lib.report import RECORD_FILE, checkpoint_record
from tests.support.records import MEASURED, RECORD

FINGERPRINTED = {
    "format": 1,
    "model": {"id": RECORD.model, "revision": RECORD.revision},
    "settings": {"method": "gptq", "bits": 4},
    "calibration": None,
}
FINGERPRINT = sha256_json(FINGERPRINTED)
WEIGHTS = bytes(range(256))


def recorded_checkpoint(
    folder: Path, *, run: str | None = None, fingerprint: str = FINGERPRINT, weights: bytes = WEIGHTS
) -> Path:
    """A checkpoint of a few bytes with card and report.

    Args:
        run: the workflow run that the report names.
    """
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\nmodel_quantizer:\n"
        f"  fingerprint: {fingerprint}\n  version: 0.1.0\n---\n\n# Tiny\n",
        encoding="utf-8",
    )
    record = replace(
        RECORD,
        measurements=replace(MEASURED, size_after=len(weights)),
        fingerprint=fingerprint,
        fingerprinted=FINGERPRINTED,
        provenance={} if run is None else {"workflow_run": run},
        files={path.name: sha256_file(path) for path in sorted(folder.iterdir())},
    )
    write_json(folder / RECORD_FILE, checkpoint_record(record))
    return folder
