"""AWQ checkpoints of small random models, loaded by plain transformers and compared with what was meant."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.carry import as_quantized
from quantize_lib.engine.folds import find_folds
from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.statistics import StatisticsCollector
from quantize_lib.formats import get_format
from quantize_lib.methods import Settings
from quantize_lib.packing.gemm import pack_gemm, unpack_gemm
from tests.support.families import save_family
from tests.support.rounding import PackedBlock, checkpoint_context, make_block

_BLOCKS = {
    "llama": "model.layers",
    "gemma2": "model.layers",
    "phi3": "model.layers",
    "gpt_neox": "gpt_neox.layers",
    "opt": "model.decoder.layers",
}
_KERNEL_TOLERANCE = 0.04
"""GPTQModel's kernels for the CPU compute in 16 bits: relative to the logits' largest value."""


def _load(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    model: PreTrainedModel = cast(Any, AutoModelForCausalLM).from_pretrained(folder, dtype=dtype).eval()
    return model


def _block_input(model: PreTrainedModel, index: int, ids: Tensor, group_size: int) -> BlockInput:
    """A block with statistics and folds from a forward of `ids`."""
    config = model.config
    block = cast(nn.ModuleList, model.get_submodule(_BLOCKS[config.model_type]))[index]
    linears = find_linears(block)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = block.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    collector = StatisticsCollector(linears)
    with torch.inference_mode(), collector.collecting():
        model(ids, use_cache=False)
        handle.remove()
        args, kwargs = calls[0]

        def forward(module: nn.Module) -> Tensor:
            output = module(*args, **kwargs)
            return cast(Tensor, output[0] if isinstance(output, tuple) else output)

        statistics = collector.finish()
        folds = find_folds(
            block,
            linears,
            collector.groups(),
            forward,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        )
    inputs = {
        name: LinearInput(
            name=name,
            weight=linear.view.detach().clone(),
            bias=None if (bias := linear.bias_view) is None else bias.detach(),
            statistics=statistics[name],
            bits=4,
            group_size=group_size,
        )
        for name, linear in linears.items()
    }
    params = {
        name: value.detach()
        for name, value in block.named_parameters()
        if name.rpartition(".")[0] not in inputs
    }
    return BlockInput(
        index=index,
        linears=inputs,
        params=params,
        folds=folds,
        dtype=torch.float32,
    )


def _checkpoint(
    base: Path, folder: Path, group_size: int
) -> tuple[list[BlockInput], list[PackedBlock], Tensor]:
    """Write an AWQ checkpoint of `base`; the inputs, the outputs and the logits that were meant."""
    model = _load(base)
    family = model.config.model_type
    blocks = _BLOCKS[family]
    ids = torch.randint(3, 500, (4, 64), generator=torch.Generator().manual_seed(0))
    settings = Settings(method="awq", bits=4, group_size=group_size)
    layers = cast(nn.ModuleList, model.get_submodule(blocks))
    inputs = [_block_input(model, index, ids, group_size) for index in range(len(layers))]
    outputs = [
        make_block(block, settings, model_type=family, module=module)
        for block, module in zip(inputs, layers, strict=True)
    ]
    state = load_file(base / "model.safetensors")
    for index, output in enumerate(outputs):
        for name in output.weights:
            del state[f"{blocks}.{index}.{name}.weight"]
        state.update({f"{blocks}.{index}.{name}": value.clone() for name, value in output.tensors.items()})
    folder.mkdir()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    context = checkpoint_context(
        settings,
        dict.fromkeys((f"{blocks}.{name}" for name in find_linears(layers)), (4, group_size)),
        group_size=group_size,
        blocks=blocks,
        outside=tuple(name for name in find_linears(model) if not name.startswith(blocks + ".")),
        dtype=torch.float32,
        model_type=family,
    )
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = get_format("awq").quantization_config(context)
    (folder / "config.json").write_text(json.dumps(config))
    with torch.inference_mode(), ExitStack() as stack:
        for layer, output in zip(layers, outputs, strict=True):
            put = stack.enter_context(as_quantized(layer, stored=torch.float32))
            put(find_linears(layer), output.rounded)
        meant = model(ids[:1], use_cache=False).logits
    return inputs, outputs, meant


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3", "gpt_neox", "opt"])
def test_plain_transformers_loads_every_family_and_says_what_was_meant(family: str, tmp_path: Path) -> None:
    base = save_family(family, tmp_path / "base")
    inputs, outputs, meant = _checkpoint(base, tmp_path / "awq", 32)
    assert all(block.folds for block in inputs)
    assert any(output.rounded.params for output in outputs)
    _reads_as_meant(tmp_path / "awq", family, outputs, meant, torch.float32)
    for output in outputs:
        for name, weight in output.weights.items():
            parts = {key: output.tensors[f"{name}.{key}"] for key in ("qweight", "qzeros", "scales")}
            codes, zeros = unpack_gemm(parts["qweight"]).float(), unpack_gemm(parts["qzeros"]).float()
            steps = codes.reshape(len(codes), -1, 32) - zeros[..., None]
            assert torch.equal((steps * parts["scales"].T.float()[..., None]).flatten(1), weight), name


@pytest.mark.parametrize(
    ("group_size", "dtype"),
    [(16, torch.float32), (64, torch.bfloat16), (128, torch.float16), (-1, torch.float32)],
)
def test_every_group_size_loads(group_size: int, dtype: torch.dtype, tmp_path: Path) -> None:
    base = save_family("llama", tmp_path / "base")
    _, outputs, meant = _checkpoint(base, tmp_path / "awq", group_size)
    _reads_as_meant(tmp_path / "awq", "llama", outputs, meant, dtype)


def _reads_as_meant(
    folder: Path, family: str, outputs: list[PackedBlock], meant: Tensor, dtype: torch.dtype
) -> None:
    """Logits are close, and no code of any loaded layer is another than the method said."""
    model = _load(folder, dtype)
    ids = torch.randint(3, 500, (4, 64), generator=torch.Generator().manual_seed(0))[:1]
    with torch.inference_mode():
        logits = model(ids, use_cache=False).logits.float()
        assert float((logits - meant).abs().max() / meant.abs().max()) < _KERNEL_TOLERANCE
        for index, output in enumerate(outputs):
            for name, weight in output.weights.items():
                layer = cast(Any, model.get_submodule(f"{_BLOCKS[family]}.{index}.{name}"))
                assert "Awq" in type(layer).__name__
                bias = 0.0 if layer.bias is None else layer.bias.float()
                # What the layer makes of one input at a time is its weight, column by column.
                read = (layer(torch.eye(weight.shape[1], dtype=dtype)).float() - bias).T
                scales = output.tensors[f"{name}.scales"].T.float()
                step = scales.repeat_interleave(weight.shape[1] // scales.shape[1], dim=1)
                assert float(((read - weight).abs() / step).max()) < 0.5, name


def test_packing_equals_gptqmodels_byte_for_byte() -> None:
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear

    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (48, 128), generator=generator)
    zeros = torch.randint(0, 16, (48, 4), generator=generator)
    scales = (torch.rand(48, 4, generator=generator) + 0.01).half()
    linear = nn.Linear(128, 48, bias=False)
    steps = codes.reshape(48, 4, 32) - zeros[..., None]
    linear.weight.data = (steps * scales[..., None].float()).flatten(1)
    theirs = AwqTorchLinear(
        bits=4,
        group_size=32,
        sym=False,
        desc_act=False,
        in_features=128,
        out_features=48,
        register_buffers=True,
    )
    theirs.pack(linear, scales, zeros)
    for name, value in pack_gemm(codes, zeros, scales).items():
        assert torch.equal(value, getattr(theirs, name)), name
    assert torch.equal(unpack_gemm(pack_gemm(codes, zeros, scales)["qweight"]), codes.to(torch.uint8))
