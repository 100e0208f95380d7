"""A base model as libraries are to see it: with the config.json that it is computed with.

transformers reads config.json in many places: for the model, for its tokenizer, for the reload. What is ours
to choose, and what it would trip over, is left out once, in a copy that holds links to everything else.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantize_lib.architecture.config_values import run_config
from quantize_lib.files import write_json
from quantize_lib.source.model_files import BOM, CONFIG, parse_config

_COPY = ".tidied"


@contextmanager
def tidied(model: Path, work: Path) -> Iterator[Path]:
    """The model's folder itself, or where its config.json has to be another one a folder of links with that.

    Args:
        work: gets that folder, which is removed at the end.

    Raises:
        SourceError: where config.json cannot be read.
    """
    data = (model / CONFIG).read_bytes()
    config = parse_config(data)
    kept = run_config(config)
    if kept == config and not data.startswith(BOM):
        yield model
        return
    copy = work / _COPY / model.name
    # A killed process may have left one.
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.mkdir(parents=True)
    try:
        for path in model.iterdir():
            if path.name != CONFIG:
                (copy / path.name).symlink_to(path.resolve())
        write_json(copy / CONFIG, kept)
        yield copy
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)
