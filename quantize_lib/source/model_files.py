"""Which files of a base model travel along, and what its config says."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.errors import SourceError

CONFIG = "config.json"
CARD = "README.md"
ADAPTER_CONFIG = "adapter_config.json"
BOM = b"\xef\xbb\xbf"
"""The byte order mark that some editors put in front of UTF-8."""

_TOKENIZER_PATTERNS = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "*.spm",
)
_SIDE_PATTERNS = (
    *_TOKENIZER_PATTERNS,
    "chat_template*.json",
    "chat_template*.jinja",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
)
_TERMS = ("LICENSE*", "LICENCE*", "MODEL_LICENSE*", "NOTICE*", "USE_POLICY*", "COPYING*")
"""In whatever case they are written."""
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt")
_TOKENIZER_ENDINGS = (".model", ".tiktoken")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_MAX_CONFIG_BYTES = 10_000_000
_DTYPES = {"float16": "F16", "half": "F16", "bfloat16": "BF16", "float32": "F32", "float": "F32"}


def is_side_file(name: str, *, code: bool = False) -> bool:
    """Whether a file belongs to inference beside config and weights.

    Args:
        name: relative to the model's folder, with `/`.
        code: Python files too (`trust_remote_code`).
    """
    if not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")):
        return False
    if is_terms_file(name):
        return True
    folder, _, _ = name.rpartition("/")
    for pattern in (*_SIDE_PATTERNS, *(("*.py",) if code else ())):
        # fnmatch's `*` matches `/` too; a pattern is meant for its own folder alone.
        if fnmatch.fnmatchcase(name, pattern) and folder == pattern.rpartition("/")[0]:
            return True
    return False


def is_tokenizer_file(name: str) -> bool:
    """Whether a file at the top of a model decides how text becomes token ids."""
    return "/" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in _TOKENIZER_PATTERNS)


def is_terms_file(name: str) -> bool:
    """Whether a file at the top of a repository is a licence, a notice or a use policy."""
    return (
        "/" not in name
        and not name.endswith((".py", *_PICKLED))
        and any(fnmatch.fnmatchcase(name.upper(), pattern) for pattern in _TERMS)
    )


def side_files(folder: Path, *, code: bool = False) -> list[Path]:
    """The files of a model folder that a checkpoint takes along: tokenizer, templates, licence and the like.

    Never weights, the base model's card or `config.json` (both are written anew), and Python files only where
    `code` is set.

    Returns:
        Absolute paths inside `folder`, sorted.
    """
    names = [*folder.iterdir(), *folder.glob("additional_chat_templates/*")]
    return sorted(
        path
        for path in names
        if path.is_file() and is_side_file(path.relative_to(folder).as_posix(), code=code)
    )


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether the files hold a tokenizer's vocabulary; `tokenizer_config.json` alone says only its class."""
    return any(
        name in _TOKENIZER_FILES or name.endswith(_TOKENIZER_ENDINGS) for name in names if "/" not in name
    )


def pickled_weights(names: Iterable[str]) -> list[str]:
    """The files that look like pickled weights, sorted."""
    return sorted(name for name in names if "/" not in name and name.endswith(_PICKLED))


def parse_config(data: bytes) -> dict[str, Any]:
    """`config.json`.

    Raises:
        SourceError: where it is not a JSON object of sensible size.
    """
    if len(data) > _MAX_CONFIG_BYTES:
        raise SourceError(
            f"{CONFIG} has {len(data)} bytes, more than the {_MAX_CONFIG_BYTES} that are allowed"
        )
    try:
        config = json.loads(data.removeprefix(BOM).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{CONFIG} is not JSON: {error}", hint="Fetch the base model again.") from error
    if not isinstance(config, dict):
        raise SourceError(f"{CONFIG} holds no JSON object", hint="Fetch the base model again.")
    return config


def stated_dtype(config: Mapping[str, Any]) -> str | None:
    """The dtype in full precision that config.json says of the weights, as safetensors writes it."""
    parts = [
        config,
        *(part for key in ("text_config", "llm_config") if isinstance(part := config.get(key), dict)),
    ]
    said = [part.get(key) for part in parts for key in ("dtype", "torch_dtype")]
    return next((_DTYPES[dtype] for dtype in said if isinstance(dtype, str) and dtype in _DTYPES), None)
