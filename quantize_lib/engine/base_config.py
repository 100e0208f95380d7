"""The base model's config as transformers' own class, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantize_lib.errors import SourceError
from quantize_lib.files import read_json
from quantize_lib.text import plain
from quantize_lib.wording import show

RAISED = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError),
    *(TypeError, ValueError),
)
"""What foreign code raises where a config asks for what it cannot do."""


def load_config(folder: Path, *, trust_remote_code: bool) -> Any:
    """A model folder's config as transformers reads it.

    Raises:
        SourceError: where transformers refuses it.
    """
    from transformers import AutoConfig, __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    said = read_json(folder / "config.json").get("model_type")
    if not trust_remote_code and said not in CONFIG_MAPPING:
        raise SourceError(
            f"{folder.name}: transformers {__version__} knows no model type {show(said)}",
            hint="Say trust_remote_code: true where the model brings its class along, or take a newer "
            "transformers.",
        )
    with config_errors(folder):
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)


@contextmanager
def config_errors(folder: Path) -> Iterator[None]:
    """Turn what transformers raises over a config, of whatever kind, into one sentence.

    Raises:
        SourceError: with the last line of what it says.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (*RAISED, StrictDataclassError) as error:
        lines = [plain(line) for line in str(error).splitlines() if line.strip()]
        raise SourceError(
            f"{folder.name}: transformers cannot build the model that config.json describes: "
            f"{type(error).__name__}{f': {lines[-1]}' if lines else ''}",
            hint="Correct config.json of the base model.",
        ) from error
