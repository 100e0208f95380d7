"""Has a tokenizer tried in a process of its own, once for the same files, texts and libraries."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from quantize_lib import generation_config
from quantize_lib.calibration import chat_template, conversations, windows
from quantize_lib.environment import run_module
from quantize_lib.errors import SourceError
from quantize_lib.files import last_line, read_json, sha256_file, sha256_json, write_json
from quantize_lib.text import plain
from quantize_lib.tokenizer.loading import WAY_OUT
from quantize_lib.tokenizer.question import Answer, Question

_LIBRARIES = ("transformers", "tokenizers", "sentencepiece", "tiktoken")
"""What an answer depends on beside the files …"""
_CODE = (
    *(Path(str(module.__file__)) for module in (windows, conversations, chat_template, generation_config)),
    *Path(__file__).parent.glob("*.py"),
)
"""… and our own part in it."""
_SECONDS = 600.0


def can_ask() -> bool:
    """Whether this environment has what loads tokenizers; the light install has not."""
    return all(importlib.util.find_spec(name) is not None for name in ("transformers", "tokenizers"))


def ask(question: Question, digests: Mapping[str, str]) -> Answer:
    """The answer, from an earlier time where nothing changed since.

    Args:
        digests: of every file of the folder that has a say, by name; they are the folder's part of what an
            answer is remembered by.

    Raises:
        SourceError: where the process ended without an answer, without the model's name.
    """
    remembered = _cache_file(question, digests)
    if remembered is not None:
        with suppress(OSError, ValueError, RecursionError):
            return Answer.from_json(read_json(remembered), texts=len(question.texts))
    answer = _tried(question)
    if remembered is not None and answer.error is None:
        # A cache that cannot be written is only not used. An error may be this machine's, as where a library
        # is missing, and is looked for again.
        with suppress(OSError):
            write_json(remembered, answer.to_json())
    return answer


def _cache_file(question: Question, digests: Mapping[str, str]) -> Path | None:
    key = sha256_json(
        {
            **question.to_json(),
            # The same files elsewhere are the same tokenizer.
            "folder": dict(digests),
            "versions": {name: _version(name) for name in _LIBRARIES},
            "code": [sha256_file(path) for path in sorted(_CODE)],
        }
    )
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME") or "", ".cache"))
    # A relative path would be one of the current folder, where nothing is to appear.
    return base / "model-quantizer" / "tokenizers" / f"{key}.json" if base.is_absolute() else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tried(question: Question) -> Answer:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        question_file, answer_file, log = folder / "question.json", folder / "answer.json", folder / "log.txt"
        write_json(question_file, question.to_json())
        try:
            code = run_module(
                "quantize_lib.tokenizer.probe", question_file, answer_file, log=log, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(
                f"the tokenizer cannot be used: trying it took longer than {_SECONDS:.0f} s", hint=WAY_OUT
            ) from error
        if code != 0:
            ending = f"signal {-code}" if code < 0 else plain(last_line(log, otherwise=f"exit code {code}"))
            raise SourceError(
                f"the tokenizer cannot be used: the process that tried it ended with: {ending}", hint=WAY_OUT
            )
        return Answer.from_json(read_json(answer_file), texts=len(question.texts))
