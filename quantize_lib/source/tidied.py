"""A base model as libraries are to see it: with the config.json that it is computed with, and a whole index.

transformers reads config.json in many places: for the model, for its tokenizer, for the reload. What is ours
to choose, and what it would trip over, is left out once, in a copy that holds links to everything else.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantize_lib.architecture.config_values import run_config
from quantize_lib.files import read_json, write_json
from quantize_lib.source.headers import INDEX, SINGLE
from quantize_lib.source.model_files import ADAPTER_CONFIG, BOM, CONFIG, parse_config

_COPY = ".tidied"


@contextmanager
def tidied(model: Path, work: Path) -> Iterator[Path]:
    """The model's folder itself, or a folder of links with another config.json or index where it has to be.

    Args:
        work: gets that folder, which is removed at the end.

    Raises:
        SourceError: where config.json cannot be read.
    """
    changed = {**_config(model), **_index(model)}
    # Where peft is installed, transformers would load an adapter beside the model, which is not applied here.
    left_out = {ADAPTER_CONFIG} if (model / ADAPTER_CONFIG).exists() else set()
    if not changed and not left_out:
        yield model
        return
    copy = work / _COPY / model.name
    # A killed process may have left one.
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.mkdir(parents=True)
    try:
        for path in model.iterdir():
            if path.name not in {*changed, *left_out}:
                (copy / path.name).symlink_to(path.resolve())
        for name, content in changed.items():
            write_json(copy / name, content)
        yield copy
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)


def _config(model: Path) -> dict[str, Any]:
    if not (model / CONFIG).is_file():
        # Who reads the model says so.
        return {}
    data = (model / CONFIG).read_bytes()
    config = parse_config(data)
    kept = run_config(config)
    return {} if kept == config and not data.startswith(BOM) else {CONFIG: kept}


def _index(model: Path) -> dict[str, Any]:
    """The index with the `metadata` that transformers asks for, and without files that are not there."""
    if (model / SINGLE).is_file() or not (model / INDEX).is_file():
        return {}
    index = read_json(model / INDEX)
    # Damage is told where the weights are looked at.
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        return {}
    kept = {name: file for name, file in weight_map.items() if (model / str(file)).is_file()}
    if isinstance(index.get("metadata"), dict) and kept == weight_map:
        return {}
    return {INDEX: {"metadata": {}, "weight_map": kept}}
