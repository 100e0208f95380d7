"""What formats say of themselves: which layers and models they hold, what they pack, how they are loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quantize_lib.architecture.assignment import assign, format_of, left_out
from quantize_lib.architecture.group_sizes import resolve_group_size
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.engine.block import RoundedBlock
from quantize_lib.errors import SourceError, UsageError
from quantize_lib.evaluate import reload
from quantize_lib.evaluate.opening import Kind
from quantize_lib.formats import (
    FORMATS,
    Misfit,
    Traits,
    format_of_config,
    formats_for,
    get_format,
    resolve_format,
)
from quantize_lib.formats.compressed_base import DEQUANTIZE
from quantize_lib.formats.loading import Loaded, LoadRequest
from quantize_lib.formats.rounded import Codes, RoundedLayer
from quantize_lib.methods import METHODS, Override, Settings, get_method
from quantize_lib.packing.integers import pack_stream, unpack_stream
from quantize_lib.source.facts import ModelFacts
from quantize_lib.tasks import GENERATION
from tests.support.rounding import checkpoint_context, pack

LLAMA = Traits(model_type="llama")
GPT2 = Traits(model_type="gpt2", conv1d=True)
MIXTURE = Traits(model_type="qwen3_moe", experts=True)
CONV1D_FOR_AWQ = "AWQ loaders replace nn.Linear alone, and this model's layers are Conv1D"
CONV1D_FOR_CT = "its loaders replace nn.Linear alone, and would leave this model's Conv1D layers random"
UNREAD = "no loader that was tried reads this mixture's experts"
EXPERTS = "plain transformers would load the experts of a mixture with random weights"


def _settings(method: str = "gptq", bits: int = 4, format_name: str = "auto", **values: Any) -> Settings:
    return Settings(method=method, bits=bits, format=format_name, **values)


def _gpt2(**config: Any) -> ModelFacts:
    sizes = {
        "attn.c_attn": (64, 192),
        "attn.c_proj": (64, 64),
        "mlp.c_fc": (64, 256),
        "mlp.c_proj": (256, 64),
    }
    return ModelFacts(
        config={"model_type": "gpt2", **config},
        revision="sha256:0",
        tensors={},
        layers=tuple(
            LayerInfo(
                name=f"transformer.h.0.{name}",
                in_features=inputs,
                out_features=outputs,
                tensor=f"transformer.h.0.{name}.weight",
            )
            for name, (inputs, outputs) in sizes.items()
        ),
        conv1d=True,
        weight_bytes=0,
        download_bytes=0,
    )


def _llama(inputs: int, outputs: int) -> ModelFacts:
    return ModelFacts(
        config={"model_type": "llama"},
        revision="sha256:0",
        tensors={},
        layers=(
            LayerInfo(
                name="model.layers.0.mlp.up_proj",
                in_features=inputs,
                out_features=outputs,
                tensor="model.layers.0.mlp.up_proj.weight",
            ),
        ),
        weight_bytes=0,
        download_bytes=0,
    )


# Which there are.


def test_every_method_has_formats_that_hold_what_it_gives() -> None:
    assert list(FORMATS) == ["gptq", "awq", "compressed-tensors", "bitsandbytes", "gguf"]
    for method in METHODS.values():
        chosen = [get_format(name) for name in method.formats]
        assert all(entry.holds(method) for entry in chosen)
        assert formats_for(method)[0] is chosen[0]
        assert set(formats_for(method)) == set(chosen)
        assert set(method.bits) <= {bits for entry in chosen for bits in entry.bits}


@pytest.mark.parametrize(
    ("method", "formats"),
    [
        ("gptq", ["gptq", "compressed-tensors"]),
        ("awq", ["awq", "gptq", "compressed-tensors"]),
        ("bitsandbytes", ["bitsandbytes"]),
    ],
)
def test_a_format_of_a_library_or_of_one_method_is_not_for_others(method: str, formats: list[str]) -> None:
    assert [entry.name for entry in formats_for(get_method(method))] == formats


def test_a_checkpoint_says_its_format() -> None:
    for entry in FORMATS.values():
        assert format_of_config({"quant_method": entry.quant_method}) is entry
    assert format_of_config({"quant_method": "another"}) is None
    assert format_of_config({}) is None


def test_a_name_that_is_no_format_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="Perhaps you meant `compressed-tensors`"):
        get_format("compressed_tensors")


# What the codes have to be.


@pytest.mark.parametrize(
    ("name", "method", "own", "symmetric", "lowest_zero", "reordered"),
    [
        ("gptq", "gptq", {}, True, 0, False),
        ("gptq", "gptq", {"sym": False, "desc_act": True}, False, 1, True),
        ("gptq", "awq", {}, False, 1, False),
        ("awq", "awq", {}, False, 0, False),
        ("compressed-tensors", "gptq", {"sym": False}, True, 0, False),
        ("compressed-tensors", "awq", {}, True, 0, False),
        ("compressed-tensors", "gptq", {"desc_act": True}, True, 0, False),
    ],
)
def test_the_grid_is_what_the_settings_ask_for_as_far_as_the_format_has_it(
    name: str, method: str, own: dict[str, bool], symmetric: bool, lowest_zero: int, reordered: bool
) -> None:
    grid = get_format(name).grid(get_method(method), _settings(method, own=own))
    assert (grid.symmetric, grid.lowest_zero, grid.reordered) == (symmetric, lowest_zero, reordered)


# Which layers they hold.


@pytest.mark.parametrize(
    ("bits", "fits", "odd"), [(2, 16, 24), (3, 32, 48), (4, 8, 12), (8, 4, 6)], ids=["2", "3", "4", "8"]
)
def test_codes_of_gptqs_format_fill_whole_words_along_inputs_and_outputs(
    bits: int, fits: int, odd: int
) -> None:
    gptq = get_format("gptq")
    reason = f"{bits}-bit codes fill whole 32-bit words only"
    assert gptq.misfit(fits, fits, bits) is None
    assert gptq.misfit(odd, fits, bits) == Misfit(side="input", size=odd, reason=reason)
    assert gptq.misfit(fits, odd, bits) == Misfit(side="output", size=odd, reason=reason)


def test_eight_outputs_share_a_word_of_awqs_format_and_inputs_are_free() -> None:
    awq = get_format("awq")
    assert awq.misfit(7, 16, 4) is None
    assert awq.misfit(64, 12, 4) == Misfit(side="output", size=12, reason="AWQ packs 8 outputs into one word")


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("name", ["compressed-tensors", "bitsandbytes"])
def test_other_formats_hold_layers_of_any_size(name: str, bits: int) -> None:
    assert get_format(name).misfit(77, 13, bits) is None


@pytest.mark.parametrize(
    ("format_name", "side", "inputs", "outputs"),
    [("gptq", "input", 12, 64), ("gptq", "output", 64, 12), ("awq", "output", 64, 12)],
)
def test_a_layer_that_does_not_fit_is_refused_by_name(
    format_name: str, side: str, inputs: int, outputs: int
) -> None:
    facts = _llama(inputs, outputs)
    with pytest.raises(UsageError) as caught:
        resolve_group_size(facts, _settings("awq", format_name=format_name, group_size=-1))
    misfit = get_format(format_name).misfit(inputs, outputs, 4)
    assert misfit is not None
    assert caught.value.message == (
        f"the {side} of model.layers.0.mlp.up_proj (12) cannot be packed: {misfit.reason}"
    )
    assert caught.value.hint == (
        "Keep it in full precision with modules_to_not_convert: ['model.layers.0.mlp.up_proj']."
    )
    spacious = _settings("awq", format_name="compressed-tensors", group_size=-1)
    assert resolve_group_size(facts, spacious) == -1


@pytest.mark.parametrize(
    ("override", "asked"),
    [
        (Override(modules="*.up_proj", bits=8), "8 bits and group size 16"),
        (Override(modules="*.up_proj", group_size=32), "4 bits and group size 32"),
    ],
)
def test_a_layer_unlike_the_others_is_refused_by_name_where_all_are_alike(
    override: Override, asked: str
) -> None:
    facts = _llama(64, 64)
    settings = _settings("awq", format_name="awq", group_size=16, overrides=(override,))
    with pytest.raises(UsageError) as caught:
        resolve_group_size(facts, settings)
    assert caught.value.message == (
        f"model.layers.0.mlp.up_proj asks for {asked}, which the format awq cannot hold "
        "beside 4 bits and group size 16: all layers have the same bits and group size in it"
    )
    assert resolve_group_size(facts, replace(settings, format="gptq")) == 16


def test_layers_that_transformers_unpacks_as_it_reads_them_are_alike() -> None:
    chosen = get_format("compressed-tensors")
    assert "one width for all" in str(chosen.alike(Traits(model_type="xlstm")))
    assert chosen.alike(Traits(model_type="llama")) is None


# Which models they hold.


@pytest.mark.parametrize(
    ("traits", "refusals"),
    [
        (LLAMA, {"gptq": None, "awq": None, "compressed-tensors": None, "bitsandbytes": None}),
        (
            GPT2,
            {"gptq": None, "awq": CONV1D_FOR_AWQ, "compressed-tensors": CONV1D_FOR_CT, "bitsandbytes": None},
        ),
        (MIXTURE, {"gptq": None, "awq": EXPERTS, "compressed-tensors": None, "bitsandbytes": None}),
    ],
    ids=["plain", "Conv1D", "experts"],
)
def test_a_format_says_why_it_cannot_hold_a_model(traits: Traits, refusals: dict[str, str | None]) -> None:
    found = {name: entry.refuses(traits) for name, entry in FORMATS.items()}
    # Of families, not of what their layers are: see test_gguf_families.
    del found["gguf"]
    assert found == refusals


@pytest.mark.parametrize(
    ("method", "bits", "traits", "name"),
    [
        ("gptq", 4, LLAMA, "gptq"),
        ("gptq", 4, GPT2, "gptq"),
        ("gptq", 4, MIXTURE, "compressed-tensors"),
        ("awq", 4, LLAMA, "awq"),
        ("awq", 4, GPT2, "gptq"),
        ("awq", 4, MIXTURE, "compressed-tensors"),
        ("awq", 8, LLAMA, "gptq"),
        ("bitsandbytes", 8, GPT2, "bitsandbytes"),
    ],
)
def test_auto_is_the_first_format_of_the_method_that_can_hold_the_model(
    method: str, bits: int, traits: Traits, name: str
) -> None:
    assert resolve_format(_settings(method, bits), traits).name == name


@pytest.mark.parametrize("name", ["gptq", "awq", "compressed-tensors"])
def test_a_format_that_is_asked_for_is_taken(name: str) -> None:
    assert resolve_format(_settings("awq", format_name=name), LLAMA).name == name


@pytest.mark.parametrize(
    ("method", "bits", "name", "traits", "reason"),
    [
        ("awq", 4, "awq", GPT2, CONV1D_FOR_AWQ),
        ("awq", 4, "compressed-tensors", GPT2, CONV1D_FOR_CT),
        ("gptq", 4, "compressed-tensors", GPT2, CONV1D_FOR_CT),
        ("awq", 4, "awq", MIXTURE, EXPERTS),
        ("gptq", 4, "gptq", replace(MIXTURE, model_type="mixtral"), UNREAD),
        ("awq", 8, "awq", LLAMA, "it has no 8 bits"),
    ],
)
def test_a_format_that_is_asked_for_and_cannot_hold_the_model_is_refused_with_the_reason(
    method: str, bits: int, name: str, traits: Traits, reason: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_format(_settings(method, bits, name), traits)
    assert caught.value.message == f"format {name}: {reason}"
    assert caught.value.hint == "Leave `format` out: one that can hold the model is taken then."


def test_where_no_format_can_hold_the_model_each_reason_is_said() -> None:
    both = Traits(model_type="another", conv1d=True, experts=True)
    with pytest.raises(SourceError) as caught:
        resolve_format(_settings("awq"), both)
    assert caught.value.message == (
        f"no format of awq can hold the model (awq: {CONV1D_FOR_AWQ}; gptq: {UNREAD}; "
        f"compressed-tensors: {CONV1D_FOR_CT})"
    )
    assert caught.value.hint == "Take another method."


def test_gpt2s_projections_stay_in_full_precision_where_the_loader_asks_for_their_weight() -> None:
    layers = _gpt2().layers
    assert [layer.name for layer in layers if get_format("gptq").leaves(GPT2, layer, 4)] == [
        "transformer.h.0.attn.c_proj",
        "transformer.h.0.mlp.c_proj",
    ]
    assert not any(get_format("gptq").leaves(LLAMA, layer, 4) for layer in layers)
    assert not any(get_format("bitsandbytes").leaves(GPT2, layer, 4) for layer in layers)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_what_the_format_leaves_is_not_assigned_and_a_word_says_so(method: str) -> None:
    facts, settings = _gpt2(), _settings(method)
    assert format_of(facts, settings).name == "gptq"
    assert [layer.name for layer, _, _ in assign(facts, settings)] == [
        "transformer.h.0.attn.c_attn",
        "transformer.h.0.mlp.c_fc",
    ]
    assert left_out(facts, settings) == [
        "transformer.h.attn.c_proj, transformer.h.mlp.c_proj stay in full precision: "
        "transformers cannot load them in this format"
    ]
    assert left_out(facts, _settings("bitsandbytes")) == []
    assert len(assign(facts, _settings("bitsandbytes"))) == 4


def test_a_conv1d_model_is_refused_the_format_that_was_asked_for() -> None:
    with pytest.raises(UsageError, match=r"format awq: AWQ loaders replace nn\.Linear alone"):
        format_of(_gpt2(), _settings("awq", format_name="awq"))


# What they pack.


def _layer(bits: int, *, rows: int = 64, columns: int = 64, group: int = 32) -> RoundedLayer:
    generator = torch.Generator().manual_seed(bits)
    values = torch.randint(0, 2**bits, (rows, columns), generator=generator, dtype=torch.uint8)
    zeros = torch.full((rows, columns // group), 2 ** (bits - 1), dtype=torch.uint8)
    sign = torch.randint(0, 2, zeros.shape, generator=generator) * 2 - 1
    scales = ((torch.rand(zeros.shape, generator=generator) + 0.1) * sign).bfloat16().half()
    steps = values.float().view(rows, -1, group) - 2 ** (bits - 1)
    return RoundedLayer(
        weight=(steps * scales.float()[..., None]).flatten(1),
        codes=Codes(bits=bits, values=values, zeros=zeros, scales=scales),
        bias=torch.arange(rows).float() / 3,
    )


@pytest.mark.parametrize("group", [16, 64])
@pytest.mark.parametrize(
    ("name", "bits"),
    [*(("gptq", bits) for bits in (2, 3, 4, 8)), ("awq", 4)]
    + [("compressed-tensors", bits) for bits in (2, 3, 4, 8)],
)
def test_a_layer_takes_the_bytes_and_tensors_that_are_estimated(name: str, bits: int, group: int) -> None:
    tensors = get_format(name).pack(_layer(bits, rows=32, group=group))
    size, count = get_format(name).layer_bytes(
        64, 32, bits=bits, groups=64 // group, settings=_settings("awq", bits)
    )
    assert sum(tensor.nbytes for tensor in tensors.values()) == size
    assert len(tensors) == count


@pytest.mark.parametrize("name", ["gptq", "awq", "compressed-tensors"])
def test_the_bias_stands_beside_the_parts_in_the_dtype_of_the_disk(name: str) -> None:
    layer = _layer(4)
    assert layer.bias is not None
    tensors = pack(get_format(name), RoundedBlock(layers={"mlp.fc": layer}), torch.bfloat16)
    assert torch.equal(tensors["mlp.fc.bias"], layer.bias.bfloat16())
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert "mlp.fc.weight" not in tensors


@pytest.mark.parametrize(("bits", "dtype"), [(2, "float16"), (3, "float16"), (4, "float16"), (8, "float32")])
@pytest.mark.parametrize("columns", [64, 96])
def test_compressed_tensors_parts_mean_the_weight_even_multiplied_in_the_dtype_of_the_scales(
    bits: int, dtype: str, columns: int
) -> None:
    layer = _layer(bits, columns=columns)
    parts = get_format("compressed-tensors").pack(layer)
    assert {name: (str(part.dtype), tuple(part.shape)) for name, part in parts.items()} == {
        "weight_packed": ("torch.int32", (64, columns * bits // 32)),
        "weight_scale": (f"torch.{dtype}", (64, columns // 32)),
        "weight_shape": ("torch.int64", (2,)),
    }
    assert parts["weight_shape"].tolist() == [64, columns]
    scales = parts["weight_scale"]
    codes = unpack_stream(parts["weight_packed"], bits, columns).float() - 2 ** (bits - 1)
    product = codes.view(64, -1, 32).to(scales.dtype) * scales[..., None]
    assert torch.equal(product.flatten(1).float(), layer.weight)


@pytest.mark.parametrize("columns", [1, 10, 32, 33, 77])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_row_is_one_little_endian_stream_of_bits(bits: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    codes = torch.randint(0, 2**bits, (3, columns), generator=generator, dtype=torch.uint8)
    packed = pack_stream(codes, bits)
    assert packed.shape == (3, -(-columns * bits // 32))
    for row, words in zip(codes.tolist(), packed.tolist(), strict=True):
        stream = sum(code << bits * place for place, code in enumerate(row))
        assert sum((word & 0xFFFFFFFF) << 32 * place for place, word in enumerate(words)) == stream
    assert torch.equal(unpack_stream(packed, bits, columns), codes)


class _NeoX(nn.Module):
    """The part of GPT-NeoX's block that AWQ's loader looks into."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.mlp = nn.ModuleDict({"dense_h_to_4h": nn.Linear(32, 64), "dense_4h_to_h": nn.Linear(64, 32)})


@pytest.mark.parametrize("kept", [False, True])
def test_families_with_scaled_activations_carry_scales_of_one_in_awqs_format(kept: bool) -> None:
    layers = {"mlp.dense_4h_to_h": _layer(4, rows=32)}
    if not kept:
        layers["mlp.dense_h_to_4h"] = _layer(4, columns=32)
    rounded = RoundedBlock(layers=layers)

    def packed(name: str, model_type: str) -> dict[str, Tensor]:
        return pack(get_format(name), rounded, torch.bfloat16, model_type=model_type, module=_NeoX())

    scales = packed("awq", "gpt_neox")["mlp.act.scales"]
    assert scales.dtype == torch.bfloat16
    assert torch.equal(scales, torch.ones(64, dtype=torch.bfloat16))
    assert "mlp.act.scales" not in packed("awq", "llama")
    assert "mlp.act.scales" not in packed("gptq", "gpt_neox")
    assert "mlp.act.scales" not in packed("compressed-tensors", "gpt_neox")


# How they are loaded.


def _ct_config(schemes: dict[str, tuple[int, int]], kept: tuple[str, ...] = ()) -> dict[str, Any]:
    settings = _settings(format_name="compressed-tensors")
    context = checkpoint_context(settings, schemes, group_size=32, kept=kept, outside=("lm_head",))
    return get_format("compressed-tensors").quantization_config(context)


def test_a_uniform_checkpoint_targets_linear_layers_and_has_two_ways_of_loading() -> None:
    config = _ct_config({"a.q": (4, 32), "a.k": (4, 32)}, kept=("a.v",))
    assert [group["targets"] for group in config["config_groups"].values()] == [["Linear"]]
    assert config["ignore"] == ["a.v", "lm_head"]
    assert get_format("compressed-tensors").modes(config) == ("", DEQUANTIZE)


def test_a_mixed_checkpoint_names_every_layer_most_bits_first_and_has_one_way_of_loading() -> None:
    config = _ct_config({"a.q": (4, -1), "a.k": (4, 32), "a.v": (8, 32), "a.o": (4, 32)}, kept=("a.up",))
    groups = list(config["config_groups"].values())
    assert [group["targets"] for group in groups] == [["a.v"], ["a.k", "a.o"], ["a.q"]]
    assert [group["weights"]["num_bits"] for group in groups] == [8, 4, 4]
    assert [group["weights"]["strategy"] for group in groups] == ["group", "group", "channel"]
    assert config["ignore"] == ["a.up", "lm_head"]
    assert get_format("compressed-tensors").modes(config) == ("",)


def test_the_card_warns_of_the_other_way_of_loading_where_it_is_wrong() -> None:
    entry = get_format("compressed-tensors")
    plain = _settings(format_name=entry.name)
    mixed = _settings(format_name=entry.name, overrides=(Override(modules="*.q", bits=8),))
    assert entry.cautions(plain, LLAMA) == ()
    assert "CompressedTensorsConfig(dequantize=True)" in " ".join(entry.cautions(mixed, LLAMA))
    automatic = replace(plain, own={"target_bits": 3})
    assert entry.cautions(automatic, LLAMA) == entry.cautions(mixed, LLAMA)


def test_the_card_says_who_reads_layers_of_several_widths_in_gptqs_format() -> None:
    entry = get_format("gptq")
    plain = _settings(format_name=entry.name)
    assert entry.cautions(plain, LLAMA) == ()
    for several in (
        replace(plain, overrides=(Override(modules="*.q", bits=8),)),
        replace(plain, own={"target_bits": 3}),
    ):
        assert "plain transformers knows one of each" in " ".join(entry.cautions(several, LLAMA))


@pytest.mark.parametrize("name", ["gptq", "awq", "bitsandbytes"])
def test_other_formats_have_one_way_of_loading(name: str) -> None:
    assert get_format(name).modes({"quant_method": name}) == ("",)


class _Loads:
    """Stands in for the libraries that load."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Any]] = []
        for module in ("entry", "gptq", "awq", "bitsandbytes", "compressed_base"):
            monkeypatch.setattr(f"quantize_lib.formats.{module}.load_with_transformers", self.transformers)
        monkeypatch.setattr("quantize_lib.formats.gptq.load_with_gptqmodel", self.gptqmodel)

    def transformers(self, _request: LoadRequest, quantization_config: object | None = None) -> Loaded:
        self.asked.append(("transformers", quantization_config))
        return Loaded(model=None, seconds=0.0)

    def gptqmodel(self, _request: LoadRequest, backend: str | None) -> Loaded:
        self.asked.append(("GPTQModel", backend))
        return Loaded(model=None, seconds=0.0)


@pytest.mark.parametrize(
    ("name", "device", "compiler", "kernel"),
    [
        ("gptq", "cuda", False, "gptq_torch"),
        ("awq", "cuda", False, "torch_awq"),
        ("bitsandbytes", "cuda", False, None),
        ("compressed-tensors", "cuda", False, None),
        ("gptq", "cuda", True, None),
        ("awq", "cuda", True, None),
        ("gptq", "cpu", False, None),
    ],
)
def test_a_reload_on_cuda_without_a_compiler_asks_for_the_kernel_that_needs_none(
    name: str,
    device: str,
    compiler: bool,
    kernel: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads = _Loads(monkeypatch)
    if compiler:
        (tmp_path / "gcc").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = {"folder": str(tmp_path), "dtype": "auto", "device": device, "trust_remote_code": False}
    quantization = {"quant_method": name, "bits": 4}
    reload.load_model(spec, Kind(task=GENERATION, format=get_format(name), quantization=quantization))
    ((library, config),) = loads.asked
    assert library == "transformers"
    assert getattr(config, "backend", None) == kernel


@pytest.mark.parametrize(("compiler", "kernel"), [(False, "gptq_torch"), (True, None)])
def test_mixed_layers_of_gptqs_format_are_loaded_through_gptqmodel(
    compiler: bool, kernel: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = _Loads(monkeypatch)
    request = LoadRequest(
        folder="model", dtype="auto", device="cuda", trust_remote_code=False, has_compiler=compiler
    )
    get_format("gptq").load(request, {"bits": 4, "dynamic": {"+:^a$": {"bits": 8}, "-:^b$": {}}})
    get_format("gptq").load(request, {"bits": 4, "dynamic": {"-:^b$": {}}})
    assert loads.asked[0] == ("GPTQModel", kernel)
    assert loads.asked[1][0] == "transformers"


def test_the_other_way_of_loading_compressed_tensors_is_what_its_users_would_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads = _Loads(monkeypatch)
    for mode in get_format("compressed-tensors").modes({"config_groups": {"group_0": {}}}):
        request = LoadRequest(folder="model", dtype="auto", device="cpu", trust_remote_code=False, mode=mode)
        get_format("compressed-tensors").load(request, {})
    assert loads.asked[0] == ("transformers", None)
    assert loads.asked[1][1].dequantize is True
