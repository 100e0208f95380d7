"""What one job's input brings out stays with that job."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import EngineError
from quantize_lib.files import read_json
from quantize_lib.host import lookups, one_job, run_plan, tokenizers
from quantize_lib.host.run_options import RunOptions
from quantize_lib.manifest import parse_manifest
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter
from quantize_lib.source import fetch, read_facts
from tests.support.model_files import LLAMA, write_model


def test_a_bug_that_one_job_brings_out_fails_that_job_and_is_raised_after_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("facts", "fetched", "texts", "named", "half", "last"):
        write_model(tmp_path / name, LLAMA)
    (tmp_path / "broken.jsonl").write_text('{"text": \n')
    # As a disk has it that was written by a system with another encoding.
    (tmp_path / os.fsdecode(b"caf\xe9.bin")).write_bytes(bytes(99))
    (tmp_path / "half.jsonl").write_text('{"text": "cut \\ud83d"}\n')
    bits = [{"method": "bitsandbytes", "bits": 8}]
    calibrated = [{"method": "gptq", "bits": 4}]
    models: list[dict[str, Any]] = [
        {"id": "./facts", "quantize": bits},
        {"id": "./fetched", "quantize": bits},
        {"id": "./texts", "quantize": calibrated, "calibration": {"files": ["broken.jsonl"]}},
        {"id": "./named", "quantize": calibrated, "calibration": {"files": ["*.bin"]}},
        {"id": "./half", "quantize": calibrated, "calibration": {"files": ["half.jsonl"]}},
        {"id": "./last", "quantize": bits},
    ]
    plan = parse_manifest(json.dumps({"version": 1, "models": models}), path=tmp_path / "quantize.yml")
    executed: list[str] = []
    shown: list[CellRecord] = []

    def facts_of(model: Any, *given: Any, **named: Any) -> Any:
        if model.id == "./facts":
            raise IndexError("list index out of range")
        return read_facts(model, *given, **named)

    def fetched(model: Any, *given: Any, **named: Any) -> Any:
        if model.id == "./fetched":
            raise KeyError("metadata")
        return fetch(model, *given, **named)

    def execute(job_file: Path, *, log: Path, reporter: Reporter) -> None:  # noqa: ARG001
        executed.append(job_file.parent.name)
        raise EngineError("stopped here")

    def show(records: Sequence[CellRecord]) -> None:
        shown.extend(records)

    # Tokenizers are tried in a process of their own.
    monkeypatch.setattr(tokenizers, "can_ask", lambda: False)
    monkeypatch.setattr(lookups, "read_facts", facts_of)
    monkeypatch.setattr(one_job, "fetch", fetched)
    log = io.StringIO()
    options = RunOptions(
        output=tmp_path / "output",
        publisher=None,
        execute=execute,
        command="model-quantizer run quantize.yml",
        log=tmp_path / "log.txt",
        show=show,
    )
    with pytest.raises(IndexError, match="list index out of range"):
        run_plan.run_plan(plan, options, PlainReporter(log))
    assert executed == ["half-auto", "last-auto"]
    cells = read_json(tmp_path / "output" / "report.json")["cells"]
    assert [cell["error"].splitlines()[0] for cell in cells] == [
        "a bug of model-quantizer: IndexError",
        "a bug of model-quantizer: KeyError",
        f"{tmp_path / 'broken.jsonl'}:1 is not JSON: Expecting value",
        f"{tmp_path}/caf\udce9.bin is binary, not text",
        "stopped here",
        "stopped here",
    ]
    assert [cell["status"] for cell in cells] == ["failed"] * 6
    assert [record.id for record in shown] == [cell["id"] for cell in cells]
    assert log.getvalue().count("read as U+FFFD") == 1
