"""generation_config.json, which transformers reads with every model that it loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantize_lib.errors import SourceError
from quantize_lib.text import plain
from quantize_lib.wording import show

NAME = "generation_config.json"
_SHOWN_REASON = 200


def check_generation_config(folder: Path) -> None:
    """Refuse a file with which transformers loads neither the base model nor a checkpoint that has it too.

    One that is no JSON transformers passes over, as if there were none. Needs transformers, and no torch.

    Raises:
        SourceError: naming the key, without the model's name.
    """
    from transformers import GenerationConfig

    if not (folder / NAME).is_file():
        return
    try:
        GenerationConfig.from_pretrained(folder, local_files_only=True)
    except OSError:
        return
    except Exception as error:
        # It takes values as they come, and fails on them in any way.
        raise SourceError(
            f"{NAME} {_fault(folder, error)}, and transformers loads no model with it ({_first_line(error)})",
            hint="Correct that, or remove the file from the model's folder: a checkpoint with it would load "
            "as little.",
        ) from error


def _fault(folder: Path, error: Exception) -> str:
    from transformers import GenerationConfig

    data: Any = GenerationConfig._dict_from_json_file(folder / NAME)
    if not isinstance(data, dict):
        return "holds no JSON object"
    for key, value in data.items():
        try:
            GenerationConfig(**{key: value})
        except Exception as alone:  # noqa: BLE001
            if type(alone) is type(error):
                return f"says {show(key)}: {show(value)}"
    return "holds values that do not go together"


def _first_line(error: Exception) -> str:
    return plain(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")[:_SHOWN_REASON]
