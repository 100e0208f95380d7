"""`plan --changed-only`: what is left out, and what is not where it cannot be known."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.cli import main
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import UsageError
from quantize_lib.manifest import parse_manifest
from quantize_lib.plan import make_plan
from quantize_lib.publish.directory import DirectoryPublisher
from quantize_lib.run.changes import changed_only
from quantize_lib.types import Plan
from tests.model_files import LLAMA, write_model


def plan(folder: Path, **entry: Any) -> Plan:
    """Two models, of which the first is not supported."""
    write_model(folder / "bad", {**LLAMA, "model_type": "mamba"})
    write_model(folder / "good")
    quantize = [{"method": "bitsandbytes", "bits": 8, **entry}]
    words = {"version": 1, "models": [{"id": f"./{name}", "quantize": quantize} for name in ("bad", "good")]}
    return make_plan(parse_manifest(json.dumps(words), path=folder / "quantize.yml"))


def test_without_a_publisher_to_ask_every_cell_is_to_be_built(tmp_path: Path) -> None:
    said = io.StringIO()
    whole = plan(tmp_path)
    assert changed_only(whole, None, PlainReporter(said)) == whole
    assert "every cell is to be built" in said.getvalue()


def test_a_model_that_cannot_be_looked_at_keeps_no_other_from_being_made(tmp_path: Path) -> None:
    said = io.StringIO()
    whole = plan(tmp_path)
    kept = changed_only(whole, DirectoryPublisher(tmp_path / "published"), PlainReporter(said))
    assert kept == whole
    assert "warning: bad-auto: LlamaForCausalLM (mamba) is not supported" in said.getvalue()
    assert "good-bnb-8bit: to be built" in said.getvalue()


def test_settings_that_do_not_fit_are_an_error_all_the_same(tmp_path: Path) -> None:
    whole = plan(tmp_path, method="gptq", group_size=128)
    with pytest.raises(UsageError, match="good-gptq-8bit: "):
        changed_only(whole, DirectoryPublisher(tmp_path / "published"), PlainReporter(io.StringIO()))


def test_cells_for_the_hub_count_as_changed_without_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    write_model(tmp_path / "good")
    words = {
        "version": 1,
        "models": [{"id": "./good", "quantize": [{"method": "awq", "bits": 4}]}],
        "publish": {"to": "hub", "namespace": "acme"},
    }
    (tmp_path / "quantize.yml").write_text(json.dumps(words), encoding="utf-8")
    assert main(["plan", str(tmp_path / "quantize.yml"), "--changed-only", "--format", "github"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["include"]
    assert entry["cells"] == "good-awq-4bit"
