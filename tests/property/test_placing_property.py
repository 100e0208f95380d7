"""Whatever shards and index hold, each tensor is read as transformers reads it, or told, or refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.architecture.placing import place
from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.errors import SourceError
from quantize_lib.source.headers import combine
from tests.support.model_files import LLAMA, llama_shapes

FILES = ("a.safetensors", "b.safetensors", "c.safetensors")
CONFIG: dict[str, Any] = LLAMA | {"num_hidden_layers": 1}
SHAPES = llama_shapes(CONFIG)
PARTS = st.sampled_from(
    ["model", "layers", "0", "1", "x", "self_attn", "mlp", "norm", "q_proj", "lm_head", "embed_tokens", "mtp"]
)
NAMES = st.builds(
    lambda parts, leaf: ".".join([*parts, leaf]),
    st.lists(PARTS, max_size=5),
    st.sampled_from(["weight", "bias", "scale", "inv_freq"]),
)


def info(name: str, file: str) -> TensorInfo:
    return TensorInfo(name=name, dtype="F32", shape=SHAPES.get(name, (3,)), file=file)


@given(
    held=st.dictionaries(st.sampled_from(FILES), st.sets(st.sampled_from("abcdef"))),
    listed=st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(FILES), min_size=1),
)
def test_shards_count_and_the_last_one_wins_whatever_the_index_says(
    held: dict[str, set[str]], listed: dict[str, str]
) -> None:
    found = combine(
        listed, lambda file: {name: info(name, file) for name in sorted(held[file])}, there=held.keys()
    )
    read: dict[str, str] = {}
    for file in sorted(set(listed.values())):
        # As transformers' `_load_pretrained_model` fills its dictionary.
        read |= dict.fromkeys(held.get(file, ()), file)
    assert {name: tensor.file for name, tensor in found.tensors.items()} == read
    assert found.absent.keys() == listed.keys() - read.keys()
    assert set(found.missing) == set(listed.values()) - held.keys()
    several = sum(len(held.get(file, ())) for file in set(listed.values())) > len(read)
    assert bool(found.notes) == (listed != read or several)


@given(more=st.lists(NAMES, max_size=4), gone=st.lists(st.sampled_from(sorted(SHAPES)), max_size=1))
def test_no_tensor_goes_without_a_word(more: list[str], gone: list[str]) -> None:
    names = [name for name in dict.fromkeys([*SHAPES, *more]) if name not in gone]
    weights = Weights(tensors={name: info(name, FILES[0]) for name in names}, files=FILES[:1])
    placed = None
    with suppress(SourceError):
        placed = place(CONFIG, weights)
    if placed is None:
        return
    left = weights.tensors.keys() - placed.tensors.keys()
    counted = [int(note.split(" ", 1)[0]) for note in placed.notes]
    assert sum(counted) == len(left)
    assert all(tensor.shape != (3,) for tensor in placed.tensors.values())
