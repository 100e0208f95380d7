"""Loads a tokenizer as the model's users do, and says why where that is not possible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.errors import SourceError
from quantize_lib.files import read_json
from quantize_lib.text import plain
from quantize_lib.wording import joined, show

TOKENIZER_JSON = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_SHOWN_REASON = 200
_PANIC = "pyo3_runtime"
_AGAIN = (
    "Fetch the tokenizer's files again, or copy tokenizer.json and tokenizer_config.json from the model that "
    "this one was made from."
)
WAY_OUT = (
    "Add a tokenizer.json: copy it from the model that this one was made from, or write it once where the "
    "tokenizer loads, with transformers' AutoTokenizer.from_pretrained(…).save_pretrained(…)."
)


def load_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """The tokenizer that `AutoTokenizer` makes of a model folder.

    Raises:
        SourceError: where there is none, without the model's name.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:
        # The tokenizers library raises the bare Exception for a damaged file, and what lies in the folder
        # makes transformers raise almost anything else.
        raise _cannot_load(folder, error) from error
    except BaseException as error:
        # Where the library's compiled part panics, it raises what is no Exception.
        if type(error).__module__ != _PANIC:
            raise
        raise _cannot_load(folder, error) from error


def vocabularies(folder: Path) -> list[str]:
    """The files of a folder that can hold a vocabulary, for messages."""
    known = ("*.model", "*.tiktoken", TOKENIZER_JSON, "vocab.*", "merges.txt")
    return sorted({path.name for pattern in known for path in folder.glob(pattern) if path.is_file()})


def _cannot_load(folder: Path, error: BaseException) -> SourceError:
    names, config = vocabularies(folder), _object(folder / _CONFIG) or {}
    if "auto_map" in config and "trust_remote_code" in str(error):
        return SourceError(
            f"the tokenizer is code of the model's author ({_CONFIG}: auto_map), which is not run",
            hint=f"Say trust_remote_code: true and run with --executor docker. Or: {WAY_OUT}",
        )
    return SourceError(
        f"the tokenizer cannot be loaded: {_reason(folder, names, config, error)}",
        hint=_AGAIN if TOKENIZER_JSON in names else WAY_OUT,
    )


def _reason(folder: Path, names: list[str], config: Mapping[str, Any], error: BaseException) -> str:
    """What is wrong with the files, as far as it can be told; else the library's words behind ours."""
    kind = config.get("tokenizer_class")
    if (folder / _CONFIG).is_file() and _object(folder / _CONFIG) is None:
        return f"{_CONFIG} holds no JSON object"
    if kind is not None and not isinstance(kind, str):
        return f"{_CONFIG}: tokenizer_class is {show(kind)}, not the name of a class"
    if TOKENIZER_JSON in names:
        data = _object(folder / TOKENIZER_JSON)
        if data is None or not isinstance(data.get("model"), dict):
            return f"{TOKENIZER_JSON} holds no tokenizer"
    elif "vocab.json" in names and "merges.txt" not in names:
        return "vocab.json has no merges.txt beside it"
    said = next((line for line in map(plain, str(error).splitlines()) if line), type(error).__name__)
    # What ends in a colon only begins to say it.
    because = "" if said.endswith(":") else f" ({said[:_SHOWN_REASON]})"
    found = joined(map(show, names)) or "no vocabulary"
    reader = "transformers" if kind is None else f"transformers' {show(kind)}"
    return f"{reader} makes none of {found}{because}"


def _object(path: Path) -> dict[str, Any] | None:
    """A file's JSON object; None where it holds none."""
    try:
        data = read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
