"""`type: auto` through the whole command: the file keeps its size, and loads as it was measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from quantize_lib.files import read_json
from quantize_lib.gguf_file.choices import file_type_of
from quantize_lib.gguf_file.types import file_number
from tests.support.small_runs import command, evaluation, manifest, report, save_tiny_type

ROOM = 270_000
AUTO = "auto-270kB"


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, calibration_text: Path, held_out_text: Path
) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("auto")
    # Rows that large blocks fit into, and others.
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    model = save_tiny_type("llama", folder / "model", calibration_text, **sizes)
    manifest(
        folder,
        model,
        calibration_text,
        [{"method": "gguf", "type": ["Q8_0", "auto"], "target_size": "270 kB"}],
        evaluate={**evaluation(held_out_text), "conversations": False},
        publish={"to": "directory", "path": "published"},
    )
    done = command("run", "quantize.yml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def cell(finished: tuple[Path, str]) -> dict[str, Any]:
    found = report(finished[0] / "output")
    return found[f"tiny-gguf-{AUTO}"]


def test_the_file_takes_at_most_what_was_asked_for_and_loads_as_it_was_measured(
    finished: tuple[Path, str],
) -> None:
    file = finished[0] / "published" / "tiny-gguf" / f"tiny-{AUTO}.gguf"
    assert ROOM - 8000 < file.stat().st_size <= ROOM
    assert cell(finished)["reload"]["reproduced"]


def test_log_report_and_file_say_which_tensor_has_which_type(finished: tuple[Path, str]) -> None:
    types = cell(finished)["types"]
    assert "model.embed_tokens.weight" in types
    assert len(set(types.values())) > 1
    assert f"tiny-gguf-{AUTO}: types by tensor: " in finished[1]
    folder = finished[0] / "published" / "tiny-gguf"
    reader = GGUFReader(folder / f"tiny-{AUTO}.gguf")
    stored = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    assert stored - Counter(F32=stored["F32"]) == Counter(types.values())
    said = read_json(folder / AUTO / "config.json")["quantization_config"]
    assert said["tensors"] == dict(Counter(types.values()))
    number = reader.fields["general.file_type"].contents()
    assert number == file_number(file_type_of(types.values()))


def test_both_stand_in_one_repository(finished: tuple[Path, str]) -> None:
    folder = finished[0] / "published" / "tiny-gguf"
    shared = (folder / "README.md").read_text(encoding="utf-8")
    assert f"tiny-{AUTO}.gguf" in shared
    assert "tiny-Q8_0.gguf" in shared
    own = (folder / AUTO / "README.md").read_text(encoding="utf-8")
    assert "Each tensor has the type by which the model loses least" in own
    assert "at most 270 kB" in own


def test_a_second_run_finds_it_unchanged(finished: tuple[Path, str]) -> None:
    done = command("plan", "quantize.yml", cwd=finished[0])
    assert done.stdout.count("unchanged") == 2
