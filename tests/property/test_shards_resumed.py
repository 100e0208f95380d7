"""A shard writer that another one goes on from leaves the bytes of one that nobody interrupted."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_lib.checkpoint.shards import ShardWriter
from quantize_lib.errors import CheckpointError

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int8, torch.uint8, torch.bool)
_tensors = st.lists(
    st.tuples(st.sampled_from(_DTYPES), st.lists(st.integers(0, 5), min_size=0, max_size=3)),
    min_size=1,
    max_size=12,
)
ROOM = 20


def _made(specs: list[tuple[torch.dtype, list[int]]]) -> list[tuple[str, torch.Tensor]]:
    return [
        (f"layer.{number}.weight", torch.randint(0, 100, shape).to(dtype))
        for number, (dtype, shape) in enumerate(specs)
    ]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=60, deadline=None)
@given(
    specs=_tensors,
    kept=st.integers(0, 12),
    lost=st.integers(0, 12),
    finished=st.booleans(),
    limit=st.sampled_from([40, 400, 10**9]),
)
def test_what_came_after_the_last_sync_is_as_if_it_had_never_been(
    specs: list[tuple[torch.dtype, list[int]]], kept: int, lost: int, finished: bool, limit: int
) -> None:
    tensors = _made(specs)
    with tempfile.TemporaryDirectory() as name:
        whole, broken = Path(name, "whole"), Path(name, "broken")
        whole.mkdir()
        broken.mkdir()
        with ShardWriter(whole, tensors=ROOM, max_shard_bytes=limit) as writer:
            writer.write(dict(tensors))
            writer.finish()

        with ShardWriter(broken, tensors=ROOM, max_shard_bytes=limit) as writer:
            writer.write(dict(tensors[:kept]))
            state = json.loads(json.dumps(writer.sync()))
            writer.write(dict(tensors[kept : kept + lost]))
            writer.write({"another": torch.ones(3, 3)})
            if finished:
                writer.finish()
        (broken / ".config.json.half").write_text("{")
        with ShardWriter.reopen(broken, state, tensors=ROOM, max_shard_bytes=limit) as writer:
            writer.write(dict(tensors[kept:]))
            assert writer.total_bytes == sum(tensor.nbytes for _, tensor in tensors)
            writer.finish()
        assert _files(broken) == _files(whole)


@settings(max_examples=30, deadline=None)
@given(specs=_tensors, stops=st.lists(st.integers(0, 12), max_size=4))
def test_it_can_be_gone_on_from_again_and_again(
    specs: list[tuple[torch.dtype, list[int]]], stops: list[int]
) -> None:
    tensors = _made(specs)
    with tempfile.TemporaryDirectory() as name:
        whole, broken = Path(name, "whole"), Path(name, "broken")
        whole.mkdir()
        broken.mkdir()
        with ShardWriter(whole, tensors=ROOM, max_shard_bytes=64) as writer:
            writer.write(dict(tensors))
            writer.finish()
        state = ShardWriter(broken, tensors=ROOM, max_shard_bytes=64).sync()
        done = 0
        for stop in [*sorted(stops), len(tensors)]:
            with ShardWriter.reopen(broken, state, tensors=ROOM, max_shard_bytes=64) as writer:
                writer.write(dict(tensors[done:stop]))
                done = max(done, min(stop, len(tensors)))
                state = json.loads(json.dumps(writer.sync()))
        with ShardWriter.reopen(broken, state, tensors=ROOM, max_shard_bytes=64) as writer:
            writer.finish()
        assert _files(broken) == _files(whole)


def test_a_tensor_of_before_that_comes_again_is_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, tensors=4) as writer:
        writer.write({"a": torch.zeros(3), "b": torch.zeros(4)})
        state = writer.sync()
    for name in ("a", "b"):
        with (
            ShardWriter.reopen(tmp_path, state, tensors=4) as writer,
            pytest.raises(CheckpointError, match=f"the tensor {name} was written twice"),
        ):
            writer.write({name: torch.zeros(3)})


@pytest.mark.parametrize("damage", ["gone", "shorter", "not ours"])
def test_a_folder_that_is_not_as_it_was_is_refused(damage: str, tmp_path: Path) -> None:
    with ShardWriter(tmp_path, tensors=4) as writer:
        writer.write({"a": torch.zeros(64)})
        state = writer.sync()
    (part,) = tmp_path.iterdir()
    if damage == "gone":
        part.unlink()
    elif damage == "shorter":
        part.write_bytes(part.read_bytes()[:-1])
    else:
        state = {"closed": 3}
    with pytest.raises(CheckpointError):
        ShardWriter.reopen(tmp_path, state, tensors=4)
