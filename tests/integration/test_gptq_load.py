"""GPTQ checkpoints of small random models, loaded by transformers and GPTQModel, against what was meant."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.carry import as_quantized
from quantize_lib.engine.linears import Linear, find_linears
from quantize_lib.engine.statistics import StatisticsCollector
from quantize_lib.formats import get_format
from quantize_lib.methods import Override, Settings
from quantize_lib.packing.words import pack_gptq
from tests.support.families import save_family
from tests.support.rounding import PackedBlock, checkpoint_context, make_block

# GPTQModel reads it when it is imported, and fails on two cores without it.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

_BLOCKS = {"llama": "model.layers", "gpt2": "transformer.h", "phi3": "model.layers"}
_SIXTEEN_BITS = 0.03
"""The CPU's 4-bit kernel computes in bfloat16: relative to the logits' largest value."""
_EXACT = 2e-3
"""The plain torch kernel dequantizes to float16, which holds products of up to 11 bits exactly."""

_HALF = 6e-3
"""The whole model in float16, which is all that GPTQModel's own loader offers."""


@dataclass(frozen=True, kw_only=True)
class _Made:
    folder: Path
    blocks: str
    outputs: list[PackedBlock]
    ids: Tensor
    logits: Tensor
    """Of the base model with the dequantized weights in float32."""


def _make(tmp_path: Path, family: str, settings: Settings) -> _Made:
    """Quantize a random model of the family and write its checkpoint."""
    base, folder = save_family(family, tmp_path / "base"), tmp_path / "gptq"
    model: PreTrainedModel = cast(Any, AutoModelForCausalLM).from_pretrained(base, dtype=torch.float32).eval()
    blocks = _BLOCKS[family]
    layers = cast(nn.ModuleList, model.get_submodule(blocks))
    ids = torch.randint(3, 500, (4, 64), generator=torch.Generator().manual_seed(0))
    names = [f"{blocks}.{name}" for name in find_linears(layers)]
    kept = tuple(n for n in names if any(fnmatchcase(n, p) for p in settings.modules_to_not_convert))
    state = load_file(base / "model.safetensors")
    outputs = []
    quantized: dict[str, tuple[int, int]] = {}
    for index, block in enumerate(layers):
        prefix = f"{blocks}.{index}"
        linears = {n: part for n, part in find_linears(block).items() if f"{prefix}.{n}" not in kept}
        block_input = _block_input(model, index, prefix, linears, ids, settings)
        output = make_block(block_input, settings, model_type=family)
        quantized.update({f"{prefix}.{n}": (x.bits, x.group_size) for n, x in block_input.linears.items()})
        for name in output.weights:
            del state[f"{prefix}.{name}.weight"]
        state.update({f"{prefix}.{name}": value for name, value in output.tensors.items()})
        outputs.append(output)
    folder.mkdir()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    context = checkpoint_context(
        settings,
        quantized,
        group_size=cast(int, settings.group_size),
        blocks=blocks,
        kept=kept,
        outside=("lm_head",),
        dtype=torch.float32,
        model_type=family,
    )
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = get_format("gptq").quantization_config(context)
    (folder / "config.json").write_text(json.dumps(config))
    with torch.inference_mode(), ExitStack() as stack:
        for block, output in zip(layers, outputs, strict=True):
            put = stack.enter_context(as_quantized(block, stored=torch.float32))
            put(find_linears(block), output.rounded)
        logits = model(ids[:1], use_cache=False).logits
    return _Made(folder=folder, blocks=blocks, outputs=outputs, ids=ids[:1], logits=logits)


def _block_input(
    model: PreTrainedModel,
    index: int,
    prefix: str,
    linears: Mapping[str, Linear],
    ids: Tensor,
    settings: Settings,
) -> BlockInput:
    collector = StatisticsCollector(linears)
    with torch.inference_mode(), collector.collecting():
        model(ids, use_cache=False)
        statistics = collector.finish()
    inputs = {}
    for name, linear in linears.items():
        bias = linear.bias_view
        over = next((o for o in settings.overrides if fnmatchcase(f"{prefix}.{name}", o.modules)), None)
        inputs[name] = LinearInput(
            name=name,
            weight=linear.view.detach().clone(),
            bias=None if bias is None else bias.detach(),
            statistics=statistics[name],
            bits=(over and over.bits) or settings.bits,
            group_size=(over and over.group_size) or cast(int, settings.group_size),
        )
    return BlockInput(index=index, linears=inputs, params={}, folds=(), dtype=torch.float32)


def _reads_as_meant(model: Any, made: _Made, kernel: str, tolerance: float) -> None:
    """Logits are close, and no code of any loaded layer is another than the method said."""
    with torch.inference_mode():
        logits = model(made.ids, use_cache=False).logits.float()
        assert float((logits - made.logits).abs().max() / made.logits.abs().max()) < tolerance
        for index, output in enumerate(made.outputs):
            for name, weight in output.weights.items():
                layer = model.get_submodule(f"{made.blocks}.{index}.{name}")
                assert type(layer).__name__ == kernel
                bias = 0.0 if layer.bias is None else layer.bias.float()
                # What the layer makes of one input at a time is its weight, column by column.
                read = (layer(torch.eye(weight.shape[1], dtype=model.dtype)).float() - bias).T
                groups = output.tensors[f"{name}.g_idx"].long()
                step = output.tensors[f"{name}.scales"].float().abs()[groups].T
                assert float(((read - weight).abs() / step).max()) < 0.5, name


def _load(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return cast(Any, AutoModelForCausalLM).from_pretrained(folder, dtype=dtype).eval()


@pytest.mark.parametrize(
    ("bits", "group_size", "sym", "desc_act", "kernel", "tolerance"),
    [
        (4, 32, True, False, "TorchAtenLinear", _SIXTEEN_BITS),
        (4, 64, False, True, "TorchAtenLinear", _SIXTEEN_BITS),
        (4, -1, True, False, "TorchFusedLinear", _SIXTEEN_BITS),
        (4, -1, False, False, "TorchLinear", _EXACT),
        (2, 16, False, False, "TorchLinear", _EXACT),
        (3, 64, True, True, "TorchLinear", _EXACT),
        (3, 32, False, False, "TorchLinear", _EXACT),
        (8, 32, True, False, "TorchLinear", _EXACT),
        (8, -1, False, True, "TorchLinear", _EXACT),
    ],
)
def test_plain_transformers_says_what_was_meant(
    bits: int, group_size: int, sym: bool, desc_act: bool, kernel: str, tolerance: float, tmp_path: Path
) -> None:
    own = {"sym": sym, "desc_act": desc_act}
    settings = Settings(method="gptq", bits=bits, group_size=group_size, own=own)
    made = _make(tmp_path, "llama", settings)
    _reads_as_meant(_load(made.folder), made, kernel, tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_plain_transformers_reads_the_codes_in_other_dtypes(dtype: torch.dtype, tmp_path: Path) -> None:
    made = _make(tmp_path, "llama", Settings(method="gptq", bits=4, group_size=32))
    _reads_as_meant(_load(made.folder, dtype), made, "TorchAtenLinear", _SIXTEEN_BITS)


@pytest.mark.parametrize("bits", [3, 4])
def test_a_conv1d_model_loads_where_its_c_proj_layers_are_kept(bits: int, tmp_path: Path) -> None:
    # transformers 5.23 cannot load GPT-2 with a quantized c_proj: its _init_weights asks for c_proj.weight.
    settings = Settings(method="gptq", bits=bits, group_size=32, modules_to_not_convert=("*.c_proj",))
    made = _make(tmp_path, "gpt2", settings)
    kernel, tolerance = ("TorchAtenLinear", _SIXTEEN_BITS) if bits == 4 else ("TorchLinear", _EXACT)
    _reads_as_meant(_load(made.folder), made, kernel, tolerance)


def test_fused_layers_load(tmp_path: Path) -> None:
    made = _make(tmp_path, "phi3", Settings(method="gptq", bits=8, group_size=64))
    _reads_as_meant(_load(made.folder), made, "TorchLinear", _EXACT)


def test_a_layer_kept_in_one_block_alone_stays_as_it_was(tmp_path: Path) -> None:
    kept = "model.layers.1.mlp.down_proj"
    made = _make(
        tmp_path, "llama", Settings(method="gptq", bits=3, group_size=32, modules_to_not_convert=(kept,))
    )
    model = _load(made.folder)
    _reads_as_meant(model, made, "TorchLinear", _EXACT)
    assert type(model.get_submodule(kept)) is nn.Linear


@pytest.mark.parametrize(
    "settings",
    [
        Settings(method="gptq", bits=3, group_size=32),
        Settings(method="gptq", bits=3, group_size=32, own={"sym": False, "desc_act": True}),
        Settings(
            method="gptq",
            bits=3,
            group_size=32,
            overrides=(
                Override(modules="*.down_proj", bits=8),
                Override(modules="*.1.*.q_proj", group_size=64),
            ),
            modules_to_not_convert=("*.0.mlp.up_proj",),
        ),
    ],
    ids=["sym", "zero points and desc_act", "overrides and a kept layer"],
)
def test_gptqmodel_says_what_was_meant(settings: Settings, tmp_path: Path) -> None:
    made = _make(tmp_path, "llama", settings)
    words = Tokenizer(WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>").save_pretrained(made.folder)
    from gptqmodel import BACKEND, GPTQModel

    loaded = GPTQModel.load(str(made.folder), backend=BACKEND.GPTQ_TORCH, device="cpu", dtype=torch.float16)
    _reads_as_meant(loaded.model.eval(), made, "TorchLinear", _HALF)


@pytest.mark.parametrize("desc_act", [False, True])
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_packing_equals_gptqmodels_byte_for_byte(bits: int, sym: bool, desc_act: bool) -> None:
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    from gptqmodel.utils.packing import hf_pack_layer

    outputs, inputs, size = 96, 128, 32
    generator = torch.Generator().manual_seed(bits)
    codes = torch.randint(0, 2**bits, (outputs, inputs), generator=generator)
    zeros = torch.full((outputs, inputs // size), 2 ** (bits - 1))
    if not sym:
        zeros = torch.randint(1, 2**bits, zeros.shape, generator=generator)
    sign = torch.randint(0, 2, zeros.shape, generator=generator) * 2 - 1
    scales = ((torch.rand(zeros.shape, generator=generator) + 0.1) * sign).half().float()
    groups = torch.arange(inputs) // size
    if desc_act:
        groups = groups[torch.randperm(inputs, generator=generator)]
    linear = nn.Linear(inputs, outputs, bias=False)
    linear.weight.data = (codes - zeros[:, groups]) * scales[:, groups]
    theirs = TorchLinear(
        bits=bits,
        group_size=size,
        sym=sym,
        desc_act=desc_act,
        in_features=inputs,
        out_features=outputs,
        bias=False,
        pack_dtype=torch.int32,
    )
    hf_pack_layer(theirs, linear, scales, zeros, groups.int(), checkpoint_format="gptq")
    # 7.6.0 has written the zero points as they are, whatever its module says; saving takes the one off.
    theirs.qzero_format(format=2)
    convert_gptq_v2_to_v1_format_module(theirs, QuantizeConfig(bits=bits))
    ours = pack_gptq(codes, zeros, scales, bits=bits, g_idx=groups)
    for name, value in ours.items():
        assert torch.equal(value, getattr(theirs, name)), name
        assert value.dtype == getattr(theirs, name).dtype


def test_one_other_code_would_be_noticed(tmp_path: Path) -> None:
    made = _make(tmp_path, "llama", Settings(method="gptq", bits=4, group_size=32))
    state = load_file(made.folder / "model.safetensors")
    state["model.layers.1.mlp.up_proj.qweight"][0, 0] ^= 1
    save_file(state, made.folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AssertionError, match=r"mlp\.up_proj"):
        _reads_as_meant(_load(made.folder), made, "TorchAtenLinear", _SIXTEEN_BITS)
