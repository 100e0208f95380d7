"""Blocks and linear layers are found by the names and shapes of the tensors, whatever the type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from quantize_lib.architecture.structure import Structure, find_structure
from quantize_lib.architecture.tensors import TensorInfo

CONFIG = {"model_type": "unheard_of", "hidden_size": 64, "num_hidden_layers": 2}
BLOCK: dict[str, tuple[int, ...]] = {
    "input_norm.weight": (64,),
    "attn.q_proj.weight": (128, 64),
    "attn.o_proj.weight": (64, 128),
    "mlp.up.weight": (192, 64),
    "mlp.down_proj.weight": (64, 192),
}


def found(
    block: Mapping[str, tuple[int, ...]],
    *,
    blocks: int = 2,
    prefix: str = "model.layers",
    more: Mapping[str, tuple[int, ...]] | None = None,
    config: dict[str, Any] = CONFIG,
) -> Structure:
    shapes = {f"{prefix}.{index}.{name}": shape for index in range(blocks) for name, shape in block.items()}
    shapes |= more or {}
    return find_structure(
        config,
        {name: TensorInfo(name=name, dtype="F32", shape=shape, file="f") for name, shape in shapes.items()},
    )


def names(structure: Structure) -> list[str]:
    """Of the first block's layers."""
    start = f"{structure.blocks}.0."
    return [layer.name.removeprefix(start) for layer in structure.layers if layer.name.startswith(start)]


def test_every_matrix_in_a_block_is_a_layer_in_the_order_of_a_forward() -> None:
    structure = found(BLOCK, more={"model.embed.weight": (512, 64), "lm_head.weight": (512, 64)})
    assert (structure.blocks, structure.count, structure.experts) == ("model.layers", 2, False)
    assert names(structure) == ["attn.q_proj", "attn.o_proj", "mlp.up", "mlp.down_proj"]
    sizes = [(layer.in_features, layer.out_features) for layer in structure.layers[:4]]
    assert sizes == [(64, 128), (128, 64), (64, 192), (192, 64)]


def test_the_blocks_of_another_sense_are_not_the_models() -> None:
    vision = {f"vision_tower.layers.{i}.fc{n}.weight": (64, 64) for i in range(9) for n in range(9)}
    assert found(BLOCK, prefix="language_model.model.layers", more=vision).blocks == (
        "language_model.model.layers"
    )


def test_blocks_beyond_the_number_of_the_config_are_no_part_of_the_model() -> None:
    assert found(BLOCK, blocks=3).count == 2


def test_a_bias_tells_that_matrices_lie_the_other_way_round() -> None:
    structure = found({"attn.c_attn.weight": (64, 192), "attn.c_attn.bias": (192,)})
    assert structure.conv1d
    assert (structure.layers[0].in_features, structure.layers[0].out_features) == (64, 192)


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("mlp.gate.weight", (8, 64), "a router"),
        ("mlp.router.layer.weight", (128, 64), "a router"),
        ("attn.indexer.wq.weight", (64, 64), "an indexer"),
        ("attn.k_norm.weight", (4, 32), "a norm"),
        ("mixer.conv1d.weight", (64, 1, 4), "a convolution"),
        ("mixer.A_log", (64, 16), "a parameter that no linear layer holds"),
        ("mixer.dt_proj.weight", (64, 64), "a recurrence reads its weight"),
        ("attn.gate_proj.weight", (4, 64), "too small"),
        ("attn.odd.weight", (64, 40), "its 40 inputs are no multiple of 16"),
        ("attn.relative_attention_bias.weight", (32, 64), "an embedding"),
    ],
)
def test_what_stays_in_full_precision_is_said_with_the_reason(
    name: str, shape: tuple[int, ...], reason: str
) -> None:
    experts = {f"mlp.experts.{n}.up_proj.weight": (64, 64) for n in range(8)}
    structure = found({**BLOCK, **experts, name: shape})
    assert structure.kept[f"model.layers.1.{name}"] == reason
    assert structure.experts


def test_experts_with_tensors_of_their_own_are_layers_in_the_order_of_their_numbers() -> None:
    experts = {f"mlp.experts.{n}.{w}.weight": (64, 64) for n in range(11) for w in ("w1", "w2")}
    layers = [name for name in names(found(experts)) if name.endswith("w1")]
    assert layers == [f"mlp.experts.{n}.w1" for n in range(11)]


@pytest.mark.parametrize("transposed", [False, True])
def test_experts_in_one_tensor_are_a_layer_each(transposed: bool) -> None:
    gate_up, down = (3, 96, 64), (3, 64, 48)
    if transposed:
        gate_up, down = (3, 64, 96), (3, 48, 64)
    structure = found({"mlp.experts.gate_up_proj": gate_up, "mlp.experts.down_proj": down})
    layers = {layer.name: layer for layer in structure.layers}
    gate = layers["model.layers.0.mlp.experts.2.gate_proj"]
    assert (gate.in_features, gate.out_features) == (64, 48)
    assert (gate.tensor, gate.expert) == ("model.layers.0.mlp.experts.gate_up_proj", 2)
    last = layers["model.layers.1.mlp.experts.0.down_proj"]
    assert (last.in_features, last.out_features) == (48, 64)


def test_a_folder_without_numbered_blocks_has_no_layers() -> None:
    assert found({}, more={"x.weight": (64, 64)}).layers == ()
