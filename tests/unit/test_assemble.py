"""What a checkpoint takes over beside its shards, and what is said of a folder that cannot be written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.checkpoint.assemble import assemble, cannot_write
from quantize_lib.files import read_json


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EFBIG, "Free some space"),
        (errno.EACCES, "Let this user write there"),
        (errno.EPERM, "Let this user write there"),
        (errno.EROFS, "Let this user write there"),
    ],
)
def test_the_advice_fits_the_reason(number: int, advice: str) -> None:
    error = cannot_write(Path("out"), OSError(number, os.strerror(number)))
    assert error.message == f"out cannot be written: {os.strerror(number)}"
    assert error.hint == (
        f"{advice} or choose another folder with --output, then run the same command again."
    )


CODE = {
    "AutoConfig": "configuration_own.OwnConfig",
    "AutoModelForCausalLM": "acme/base--modeling_own.OwnModel",
}


def checkpoint(tmp_path: Path, files: dict[str, str], config: dict[str, Any], *, code: bool) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    for name, text in files.items():
        (base / name).write_text(text, encoding="utf-8")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    assemble(
        folder,
        base=base,
        config=config,
        quantization_config={"quant_method": "own"},
        side_files=[base / name for name in files],
        code=code,
    )
    return folder


NAMED = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]}}
PROCESSOR = {"image_processor": {"auto_map": {"AutoImageProcessor": "own.Own"}, "size": 1}, "parts": [NAMED]}


def test_code_that_does_not_travel_is_named_nowhere(tmp_path: Path) -> None:
    files = {"tokenizer_config.json": json.dumps(NAMED), "processor_config.json": json.dumps(PROCESSOR)}
    folder = checkpoint(tmp_path, files, {"model_type": "llama", "auto_map": CODE}, code=False)
    assert read_json(folder / "config.json") == {
        "model_type": "llama",
        "quantization_config": {"quant_method": "own"},
    }
    assert read_json(folder / "tokenizer_config.json") == {"tokenizer_class": "Own"}
    assert read_json(folder / "processor_config.json") == {
        "image_processor": {"size": 1},
        "parts": [{"tokenizer_class": "Own"}],
    }


def test_code_that_travels_stays_named(tmp_path: Path) -> None:
    text = json.dumps(NAMED)
    folder = checkpoint(tmp_path, {"tokenizer_config.json": text}, {"auto_map": CODE}, code=True)
    assert read_json(folder / "config.json")["auto_map"] == CODE
    assert (folder / "tokenizer_config.json").read_text() == text


@pytest.mark.parametrize(
    "text", ['{ "a":1 }', "\ufeff{}", "{", "[" * 100_000, '{"a": "\\ud83d"}', '{"a": NaN}']
)
def test_files_that_name_no_code_are_copied_byte_for_byte(tmp_path: Path, text: str) -> None:
    folder = checkpoint(tmp_path, {"tokenizer_config.json": text, "vocab.json": text}, {}, code=False)
    assert (folder / "tokenizer_config.json").read_text(encoding="utf-8") == text
    assert (folder / "vocab.json").read_text(encoding="utf-8") == text


def test_half_a_surrogate_beside_code_is_kept(tmp_path: Path) -> None:
    text = '{"eos_token": "\\ud83d", "auto_map": {}}'
    folder = checkpoint(tmp_path, {"tokenizer_config.json": text}, {}, code=False)
    assert read_json(folder / "tokenizer_config.json") == {"eos_token": "\ud83d"}
