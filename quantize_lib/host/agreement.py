"""Has a model's headers compared with its class before its weights are downloaded."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from pathlib import Path

from quantize_lib.architecture.as_json import to_json
from quantize_lib.environment import run_module
from quantize_lib.errors import SourceError
from quantize_lib.files import last_line, read_json, write_json
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.foreign_code import brings_class
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.tasks import task_of
from quantize_lib.text import plain

_SECONDS = 600.0


def check_agreement(model: ModelSpec, facts: ModelFacts) -> None:
    """Ask a process that has the libraries whether class and headers agree, tensor for tensor.

    Where nothing is to be downloaded, where the class is code of the model's author, or where the libraries
    are not installed here, the quantizing process compares them before it computes anything.

    Raises:
        SourceError: naming the tensor.
    """
    if (
        not facts.download_bytes
        or not task_of(facts.config).continues
        or brings_class(facts.config, trusted=model.trust_remote_code)
        or any(importlib.util.find_spec(name) is None for name in ("torch", "transformers"))
    ):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        question, answer, log = folder / "question.json", folder / "answer.json", folder / "log.txt"
        write_json(question, to_json(model.name, facts))
        try:
            code = run_module("quantize_lib.engine.agreement", question, answer, log=log, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SourceError(
                f"{model.id}: to build its class without weights took longer than {_SECONDS:.0f} s"
            ) from error
        if code != 0:
            ending = f"signal {-code}" if code < 0 else plain(last_line(log, otherwise=f"exit code {code}"))
            raise SourceError(f"{model.id}: the process that builds its class ended with: {ending}")
        problem = read_json(answer)["error"]
    if problem is not None:
        raise SourceError(f"{model.id}: {problem['message']}", hint=problem["hint"])
