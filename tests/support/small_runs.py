"""What the tests of the whole command share: a tiny model with a real tokenizer, a manifest, the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from quantize_lib.files import read_json
from tests.support.families import save_family
from tests.support.small_tokenizer import save_tokenizer
from tests.support.tiny_models import save_tiny

ROOT = Path(__file__).resolve().parents[2]
SEQUENCE = 64
FIVE: list[dict[str, Any]] = [
    {"method": "gptq", "bits": [4, 8]},
    {"method": "awq", "bits": 4},
    {"method": "bitsandbytes", "bits": [4, 8]},
]
"""The five cells of the demo."""
FASTEST: list[dict[str, Any]] = [{"method": "bitsandbytes", "bits": 8}]
"""One cell that needs no calibration."""


def save_tiny_model(folder: Path, text: Path, *, model_type: str = "llama") -> Path:
    """A random model of two blocks whose tokenizer was trained on `text`, with a card."""
    import torch

    save_family(model_type, folder, dtype=torch.bfloat16)
    save_tokenizer(folder, [text.read_text(encoding="utf-8")])
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\nlanguage: en\n---\n# Tiny\n", encoding="utf-8"
    )
    return folder


def save_tiny_type(model_type: str, folder: Path, text: Path, **sizes: int) -> Path:
    """A tiny model of any type of transformers whose tokenizer was trained on `text`."""
    save_tiny(model_type, folder, sizes=sizes)
    save_tokenizer(folder, [text.read_text(encoding="utf-8")])
    return folder


def manifest(
    folder: Path, model: Path, text: Path, quantize: Sequence[Mapping[str, Any]], **more: Any
) -> Path:
    """Write `folder/quantize.yml` for one model; `more` are further keys of the top level."""
    document = {
        "version": 1,
        "defaults": {
            "calibration": {"files": [str(text)], "samples": 8, "sequence_length": SEQUENCE},
        },
        "models": [{"id": str(model), "name": "tiny", "quantize": list(quantize)}],
        **more,
    }
    path = folder / "quantize.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def evaluation(text: Path, **limits: Any) -> dict[str, Any]:
    """The manifest's `evaluate`."""
    return {"perplexity": {"files": [str(text)], "samples": 4, "sequence_length": SEQUENCE}, **limits}


def environment(**more: str) -> dict[str, str]:
    """This process's environment with one thread a process, and `more`.

    Without the Hub's variables: importing GPTQModel in another test moves its cache for this whole process.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))
    }
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def command(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python entrypoint.py …` as a user runs it; never with a traceback."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "entrypoint.py"), *map(str, words)],
        cwd=cwd,
        env=environment() if env is None else dict(env),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def report(output: Path) -> dict[str, dict[str, Any]]:
    """The cells of a run's report, by id."""
    return {cell["id"]: cell for cell in read_json(output / "report.json")["cells"]}
