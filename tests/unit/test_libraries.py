"""Cells whose library is not installed on this machine are refused before anything is computed."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from quantize_lib.cli import main
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.host.libraries import without_libraries
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.prepare import Seen, look
from quantize_lib.manifest import parse_manifest
from quantize_lib.versions import missing
from tests.support.model_files import write_model

MANIFEST = {
    "version": 1,
    "defaults": {"calibration": {"files": ["calib.txt"], "sequence_length": 8}},
    "models": [
        {
            "id": "./base",
            "quantize": [
                {"method": "gptq", "bits": 4, "format": "compressed-tensors"},
                {"method": "bitsandbytes", "bits": 8},
            ],
        }
    ],
    "publish": {"to": "directory"},
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    write_model(tmp_path / "base")
    (tmp_path / "calib.txt").write_text("some text")
    path = tmp_path / "quantize.yml"
    path.write_text(json.dumps(MANIFEST))
    return path


def leave_out(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let packages not be installed."""

    def found(name: str) -> str:
        if name in packages:
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("quantize_lib.versions.version", found)


def seen(manifest: Path, *, in_container: bool = False, foreign: bool = False) -> Seen:
    (job,) = parse_manifest(manifest.read_text(), path=manifest).jobs
    job = replace(job, model=replace(job.model, allow_pickle=foreign))
    lookups = Lookups(PlainReporter(io.StringIO()))
    lookups.tokenizers.look_up([job])
    if in_container:
        lookups.tokenizers.elsewhere = lambda *_: None
    return look(job, lookups)


def test_a_cell_without_its_library_is_refused_and_the_others_are_not(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out(monkeypatch, "bitsandbytes")
    found = seen(manifest)
    assert [cell.id for cell in found.job.cells] == ["base-gptq-4bit"]
    assert set(found.group_sizes) == {"base-gptq-4bit"}
    error = found.refused["base-bnb-8bit"]
    assert "format bitsandbytes needs bitsandbytes, which is not installed here (" in error.message
    assert error.hint is not None
    assert "pip install bitsandbytes" in error.hint


def test_a_type_that_another_library_writes_is_refused_without_it_alone(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {
        **MANIFEST,
        "models": [{"id": "./base", "quantize": [{"method": "gguf", "type": ["Q8_0", "Q4_0"]}]}],
    }
    manifest.write_text(json.dumps(words))
    config = manifest.parent / "base" / "config.json"
    more = {"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}
    config.write_text(json.dumps({**json.loads(config.read_text()), **more}))
    (job,) = parse_manifest(manifest.read_text(), path=manifest).jobs
    facts = Lookups(PlainReporter(io.StringIO())).facts(job.model)
    leave_out(monkeypatch, "libgguf")
    ((lacking, error),) = without_libraries(job.cells, facts).items()
    assert lacking.endswith("Q4_0")
    assert "needs libgguf, which is not installed here" in error.message


def test_with_every_library_no_cell_is_refused(manifest: Path) -> None:
    assert seen(manifest).refused == {}


def test_the_light_install_quantizes_elsewhere_and_refuses_nothing(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out(monkeypatch, "torch", "bitsandbytes")
    assert seen(manifest).refused == {}


def test_a_container_has_its_own_libraries(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out(monkeypatch, "bitsandbytes")
    assert seen(manifest, in_container=True).refused == {}
    # Runs in one, or not at all.
    assert seen(manifest, foreign=True).refused == {}


def test_plan_names_what_is_missing_on_this_machine(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_out(monkeypatch, "compressed-tensors")
    monkeypatch.setattr("quantize_lib.host.tokenizers.can_ask", lambda: False)
    assert main(["plan", str(manifest)]) == 2
    said = capsys.readouterr().err
    assert "base-gptq-4bit: format compressed-tensors needs compressed-tensors" in said
    assert "Traceback" not in said


def test_what_is_installed_is_not_missing() -> None:
    assert missing(["pytest", "no-such-package-anywhere"]) == ["no-such-package-anywhere"]
