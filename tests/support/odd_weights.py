"""Saved models whose files are not quite what save_pretrained writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

SINGLE = "model.safetensors"


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """The tensors of a saved model in one file."""
    return load_file(folder / SINGLE)


def rewrite(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Put other tensors in the place of a saved model's."""
    save_file(dict(tensors), folder / SINGLE, metadata={"format": "pt"})


def say(folder: Path, **keys: object) -> None:
    """Change a saved model's config."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def shard(folder: Path, shards: Mapping[str, Mapping[str, Tensor]], weight_map: Mapping[str, str]) -> None:
    """Put shards and an index in the place of a saved model's one file.

    Args:
        shards: the tensors of each file.
        weight_map: what the index says.
    """
    (folder / SINGLE).unlink()
    for file, held in shards.items():
        save_file(dict(held), folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict(weight_map)}
    (folder / f"{SINGLE}.index.json").write_text(json.dumps(index))
