"""A base model as libraries are to see it: with the config.json that it is computed with.

transformers reads config.json in many places: for the model, for its tokenizer, for the reload. What is ours
to choose, and what it would trip over, is left out once, in a copy that holds links to everything else.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from quantize_lib.architecture.config_values import run_config
from quantize_lib.files import write_json
from quantize_lib.job.job_file import JobModel
from quantize_lib.source.model_files import BOM, CONFIG, parse_config

_COPY = ".tidied"


@contextmanager
def tidied(model: JobModel, output: Path) -> Iterator[JobModel]:
    """The model itself, or where its config.json has to be another one a folder of links with that.

    Args:
        output: gets the folder, which is removed at the end.

    Raises:
        SourceError: where config.json cannot be read.
    """
    data = (model.path / CONFIG).read_bytes()
    config = parse_config(data)
    kept = run_config(config)
    if kept == config and not data.startswith(BOM):
        yield model
        return
    copy = output / _COPY / model.path.name
    # A killed process may have left one.
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.mkdir(parents=True)
    try:
        for path in model.path.iterdir():
            if path.name != CONFIG:
                (copy / path.name).symlink_to(path.resolve())
        write_json(copy / CONFIG, kept)
        yield replace(model, path=copy)
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)
