"""Checkpoints that publish, and the tests' Hub as this process meets it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from quantize_lib.files import sha256_file, write_json
from quantize_lib.report import checkpoint_record
from quantize_lib.report.records import CARD_FILE, RECORD_FILE
from tests.support.hub import Hub, serve_here
from tests.support.records import MEASURED, RECORD

NAME = "acme/tiny-gptq-4bit"
PARTS = "acme/tiny-gguf"
TOKEN = "hf_" + "w" * 34
ONE, TWO, THREE = "a1" * 32, "b2" * 32, "c3" * 32
NOTES = "<!-- model-quantizer: keep notes -->\nBy hand.\n<!-- model-quantizer: end notes -->"


@contextmanager
def met(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub, and this process's client pointed at it; HF_TOKEN_WRITE may write to `acme`."""
    with serve_here(Hub()) as server:
        server.add_token(TOKEN, "acme")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN_WRITE", TOKEN)
        for name in ("HF_TOKEN", "HF_TOKEN_READ"):
            monkeypatch.delenv(name, raising=False)
        yield server


def checkpoint(folder: Path, fingerprint: str, more: Mapping[str, str] | None = None) -> Path:
    """A checkpoint with its card and its record; `more` are further files."""
    folder.mkdir()
    write_json(folder / "config.json", {"made": fingerprint})
    (folder / "model.safetensors").write_bytes(fingerprint.encode() * 100)
    (folder / "README.md").write_text(
        "---\nlicense: mit\nmodel_quantizer:\n"
        f"  fingerprint: {fingerprint}\n  version: 0.1.0\n---\n\n# Tiny {fingerprint[:2]}\n",
        encoding="utf-8",
    )
    for name, text in (more or {}).items():
        (folder / name).write_text(text, encoding="utf-8")
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    write_json(folder / RECORD_FILE, {"fingerprint": fingerprint, "files": files})
    return folder


def part(folder: Path, kind: str, fingerprint: str) -> Path:
    """A checkpoint that is a part of its repository, with a whole report.

    Args:
        kind: the type of the GGUF file.
    """
    folder.mkdir()
    write_json(folder / "config.json", {"quantization_config": {"quant_method": "gguf", "type": kind}})
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    weights = fingerprint.encode() * 100
    (folder / f"tiny-{kind}.gguf").write_bytes(weights)
    (folder / CARD_FILE).write_text(
        "---\nlicense: mit\ntags: [gguf, 8-bit, quantized]\nmodel_quantizer:\n"
        f"  fingerprint: {fingerprint}\n---\n\n# Tiny {kind}\n",
        encoding="utf-8",
    )
    record = replace(
        RECORD,
        id=f"tiny-gguf-{kind}",
        method="gguf",
        format="gguf",
        settings={"type": kind},
        repository=PARTS,
        part=kind,
        measurements=replace(MEASURED, size_after=len(weights)),
        fingerprint=fingerprint,
        files={path.name: sha256_file(path) for path in sorted(folder.iterdir())},
    )
    write_json(folder / RECORD_FILE, checkpoint_record(record))
    return folder
