"""examples/demo/fetch.py brings a usable model and texts, once, and says what is wrong otherwise."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
FETCH = ROOT / "examples" / "demo" / "fetch.py"


@pytest.fixture(scope="module")
def fetch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch", FETCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        # Dataclasses look for the module that they are in.
        patch.setitem(sys.modules, "fetch", module)
        spec.loader.exec_module(module)
    return module


def run_fetch(script: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_what_is_there_is_not_fetched_again(real_model: Path, held_out_text: Path) -> None:
    before = (real_model / "model.safetensors").stat().st_mtime_ns, held_out_text.stat().st_mtime_ns
    result = run_fetch(FETCH, PIP_NO_INDEX="1", HF_HUB_OFFLINE="1")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert before == ((real_model / "model.safetensors").stat().st_mtime_ns, held_out_text.stat().st_mtime_ns)


def test_without_any_network_it_says_what_it_needs_and_leaves_nothing(tmp_path: Path) -> None:
    script = Path(shutil.copy(FETCH, tmp_path))
    nothing = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    result = run_fetch(script, HF_HUB_OFFLINE="1", **nothing)
    assert result.returncode == 1
    assert "neither the Hub nor the package index gave gensim==4.4.0" in result.stderr
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "work").iterdir()) == []


def test_a_file_with_another_hash_is_refused(fetch: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    with zipfile.ZipFile(tmp_path / "package" / "package-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("member", "something else")
    with pytest.raises(fetch.FetchError, match=r"member of package==1\.0 has sha256 .*, not the pinned 0000"):
        fetch.package_member("package==1.0", "member", "0" * 64, tmp_path)


def test_the_texts_are_stories_a_line_each(calibration_text: Path, held_out_text: Path) -> None:
    stories = [json.loads(line)["text"] for line in calibration_text.read_text(encoding="utf-8").splitlines()]
    others = [json.loads(line)["text"] for line in held_out_text.read_text(encoding="utf-8").splitlines()]
    assert (len(stories), len(others)) == (300, 50)
    assert not set(stories) & set(others)


def test_the_model_card_says_licence_language_and_base(real_model: Path) -> None:
    _, metadata, _ = (real_model / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(metadata)
    assert card["license"] == "apache-2.0"
    assert card["language"] == ["en"]
    assert card["base_model"] == ["HuggingFaceTB/SmolLM2-135M"]


def test_the_model_folder_can_be_read_by_another_user(real_model: Path) -> None:
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in real_model.iterdir() if path.is_file())


def test_the_small_model_is_the_real_models_first_two_blocks(real_model: Path, small_model: Path) -> None:
    with (
        safe_open(real_model / "model.safetensors", framework="pt") as real,
        safe_open(small_model / "model.safetensors", framework="pt") as small,
    ):
        names = set(small.keys())
        blocks = {name.split(".")[2] for name in names if name.startswith("model.layers.")}
        assert blocks == {"0", "1"}
        for name in names:
            assert small.get_tensor(name).equal(real.get_tensor(name)), name
