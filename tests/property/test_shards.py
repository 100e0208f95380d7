"""Shards hold exactly what was written to them, whatever the sizes and their order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from quantize_lib.checkpoint.shards import ShardWriter
from quantize_lib.errors import CheckpointError
from quantize_lib.files import read_json

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int8, torch.uint8, torch.int64)
_tensors = st.lists(
    st.tuples(st.sampled_from(_DTYPES), st.lists(st.integers(0, 5), min_size=0, max_size=3)),
    min_size=1,
    max_size=12,
)


def _read(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as shard:
            found.update({name: shard.get_tensor(name) for name in shard.keys()})  # noqa: SIM118
    return found


@settings(max_examples=60, deadline=None)
@given(
    specs=_tensors, batch=st.integers(1, 4), limit=st.sampled_from([40, 400, 10**9]), room=st.integers(1, 40)
)
def test_every_tensor_is_read_back_by_safetensors_as_it_was_written(
    specs: list[tuple[torch.dtype, list[int]]], batch: int, limit: int, room: int
) -> None:
    tensors = {
        f"layer.{number}.weight": torch.randint(0, 100, shape).to(dtype)
        for number, (dtype, shape) in enumerate(specs)
    }
    names = list(tensors)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ShardWriter(folder, tensors=room, max_shard_bytes=limit) as writer:
            for start in range(0, len(names), batch):
                writer.write({key: tensors[key] for key in names[start : start + batch]})
            writer.finish()
        found = _read(folder)
        assert found.keys() == tensors.keys()
        for key, tensor in tensors.items():
            assert found[key].dtype == tensor.dtype
            assert torch.equal(found[key], tensor)
        index = folder / "model.safetensors.index.json"
        files = sorted(path.name for path in folder.glob("*.safetensors"))
        if index.exists():
            assert sorted(set(read_json(index)["weight_map"].values())) == files
            assert read_json(index)["weight_map"].keys() == tensors.keys()
        else:
            assert files == ["model.safetensors"]


def test_a_tensor_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, tensors=4) as writer:
        writer.write({"a": torch.zeros(3)})
        with pytest.raises(CheckpointError, match="the tensor a was written twice"):
            writer.write({"a": torch.zeros(3)})
