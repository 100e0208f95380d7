"""Asks a module of this folder, in a fresh process with a clean environment."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.environment import ending
from quantize_lib.errors import EvaluationError
from quantize_lib.evaluate.template import start_module
from quantize_lib.files import last_line, read_json, write_json


def model_question(
    folder: Path, *, tensors: Iterable[TensorInfo], device: str, trust_remote_code: bool
) -> dict[str, Any]:
    """The part of a question that says which model is loaded, and how.

    Args:
        tensors: of a base model; they travel where some are stored quantized.
    """
    held = list(tensors)
    return {
        "folder": str(folder.resolve()),
        # Tight figures where the kernels take float32: GPTQModel's do on a CPU, and on CUDA they do not.
        "dtype": "float32" if device == "cpu" else "auto",
        "device": device,
        "trust_remote_code": trust_remote_code,
        # Libraries load the others by themselves.
        "tensors": [asdict(info) for info in held] if any(info.stored for info in held) else [],
    }


def answer_of(
    module: str, spec: Mapping[str, Any], *, name: str, doing: str, log: Path, work: Path, timeout: float
) -> dict[str, Any]:
    """What a module answers.

    Args:
        module: `quantize_lib.evaluate.…`, which is given a file to read and one to write.
        spec: the question, as plain data.
        name: what it is about, for messages.
        doing: what the process does: `the reload`.
        log: gets everything that it prints.
        work: an existing folder for temporary files.
        timeout: in seconds.

    Raises:
        EvaluationError: where it takes too long, ends otherwise than well, or answers with an `error`.
    """
    with tempfile.TemporaryDirectory(dir=work) as temporary:
        spec_file, result_file = Path(temporary) / "spec.json", Path(temporary) / "result.json"
        write_json(spec_file, spec)
        try:
            code = start_module(module, spec_file, result_file, log=log, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise EvaluationError(
                f"{name}: {doing} took longer than {timeout:.0f} s", hint=f"What it printed is in {log}."
            ) from error
        if code != 0:
            raise EvaluationError(
                f"{name}: the process that loads it {ending(code)} ({last_line(log)})",
                hint=f"Everything it printed is in {log}.",
            )
        result: dict[str, Any] = read_json(result_file)
    if "error" in result:
        raise EvaluationError(f"{name}: {result['error']}", hint=f"What was printed is in {log}.")
    return result
