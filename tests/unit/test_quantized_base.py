"""A base model that is quantized already is known by its tensors, whatever its config.json says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError
from quantize_lib.source import inspect
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.quantized import check_full
from quantize_lib.source.wrapped import check_names
from tests.support.model_files import LLAMA, llama_shapes, write_model

STEM = "model.layers.0.self_attn.q_proj"
FILE = "model.safetensors"


def base(**others: tuple[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    """A Llama's tensors in bfloat16, of which the named ones (relative to a layer) are replaced or added."""
    tensors = {name: ("BF16", shape) for name, shape in llama_shapes().items()}
    if f"{STEM}.weight" not in others:
        tensors |= others
    return {
        name: TensorInfo(name=name, dtype=dtype, shape=shape, file=FILE)
        for name, (dtype, shape) in {**tensors, **others}.items()
    }


def quantized(parts: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, TensorInfo]:
    tensors = base(**{f"{STEM}{ending}": entry for ending, entry in parts.items()})
    if ".weight" not in parts:
        del tensors[f"{STEM}.weight"]
    return tensors


FORMS: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
    "GPTQ": {".qweight": ("I32", (12, 96)), ".qzeros": ("I32", (2, 12)), ".scales": ("F16", (2, 96))},
    "AWQ": {".qweight": ("I32", (96, 12)), ".qzeros": ("I32", (2, 12)), ".scales": ("F16", (2, 96))},
    "GPTQ or AWQ": {".qweight": ("I32", (12, 96))},
    "MLX": {".weight": ("U32", (96, 12)), ".scales": ("F16", (96, 2)), ".biases": ("F16", (96, 2))},
    "bitsandbytes, 4 bits": {".weight": ("U8", (4608, 1)), ".weight.absmax": ("F32", (144,))},
    "bitsandbytes, 8 bits": {".weight": ("I8", (96, 96)), ".SCB": ("F32", (96,))},
    "HQQ": {".W_q": ("U8", (48, 96)), ".meta": ("I32", (1,))},
    "FP8": {".weight": ("F8_E4M3", (96, 96)), ".weight_scale": ("F32", ())},
    "int8": {".weight": ("I8", (96, 96)), ".weight_scale": ("F32", (96,))},
    "NVFP4": {
        ".weight": ("U8", (96, 48)),
        ".weight_scale": ("F8_E4M3", (96, 6)),
        ".weight_scale_2": ("F32", ()),
    },
    "Marlin": {".B": ("I32", (6, 192)), ".s": ("F16", (2, 96))},
    "torchao": {"._weight_qdata": ("I8", (96, 96)), "._weight_scale": ("F32", (96,))},
    "compressed-tensors": {".weight_packed": ("I32", (96, 12)), ".weight_scale": ("BF16", (96, 2))},
    "AQLM": {".codes": ("I8", (96, 12, 1)), ".codebooks": ("F16", (1, 256, 1, 8))},
    "EXL2": {".q_weight": ("I32", (12, 96)), ".q_scale": ("I32", (2, 12))},
    "EXL3": {".trellis": ("I16", (6, 6, 64)), ".suh": ("F16", (96,))},
    "MXFP4": {"_blocks": ("U8", (96, 3, 16)), "_scales": ("U8", (96, 3))},
    "Quanto": {".weight._data": ("I8", (96, 96)), ".weight._scale": ("BF16", (96, 1))},
}


@pytest.mark.parametrize("form", FORMS)
def test_quantized_weights_are_refused_by_their_form_without_a_word_of_the_config(form: str) -> None:
    with pytest.raises(SourceError) as caught:
        check_full("./mine", LLAMA, quantized(FORMS[form]))
    assert caught.value.message.startswith(
        f"./mine: LlamaForCausalLM (llama) is already quantized ({form}): {FILE} holds {STEM}"
    )
    more = (
        ", or say allow_quantized_base: true of this model to have its weights dequantized as they are read"
    )
    assert (
        caught.value.hint == f"Name the full-precision model that it was made from{more * (form == 'FP8')}."
    )


def test_what_the_config_owns_up_to_is_named_in_its_words() -> None:
    config = LLAMA | {"quantization_config": {"quant_method": "auto-round"}}
    with pytest.raises(SourceError, match=r"is already quantized \(auto-round\)"):
        check_full("./mine", config, quantized(FORMS["GPTQ"]))


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        ({"quantization_config": None}, ()),
        ({"quantization_config": {}}, ()),
        (
            {"quantization_config": {"quant_method": "gptq"}},
            (
                "config.json says under quantization_config that the model is quantized (gptq), but its "
                "weights "
                "are in full precision; they are taken as such",
            ),
        ),
        (
            {"compression_config": {"quant_method": "compressed-tensors"}},
            (
                "config.json says under compression_config that the model is quantized "
                "(compressed-tensors), but "
                "its weights are in full precision; they are taken as such",
            ),
        ),
        (
            {"quantization": {"bits": 4}},
            (
                "config.json says under quantization that the model is quantized, but its weights are in "
                "full "
                "precision; they are taken as such",
            ),
        ),
    ],
)
def test_a_model_that_is_quantized_in_name_only_is_taken_and_told(
    tmp_path: Path, more: dict[str, Any], notes: tuple[str, ...]
) -> None:
    folder = write_model(tmp_path / "mine", LLAMA | more)
    assert inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None).notes == notes


@pytest.mark.parametrize("parts", [{".packed": ("U8", (96, 48))}, {".weight": ("I8", (96, 96))}])
def test_what_the_config_owns_up_to_is_believed_where_no_full_weights_are_seen(
    parts: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    config = LLAMA | {"quantization_config": {"quant_method": "own"}}
    with pytest.raises(SourceError, match=r"is already quantized \(own\)"):
        check_full("./mine", config, quantized(parts))


def test_pickled_weights_are_judged_by_the_config_alone(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", LLAMA | {"quantization_config": {"quant_method": "gptq"}})
    (folder / FILE).rename(folder / "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"is already quantized \(gptq\)"):
        inspect(ModelSpec(id="./mine", name="mine", local=folder, allow_pickle=True), token=None)


@pytest.mark.parametrize("name", ["model.num_blocks", "model.layers.0.ssm.B", "lm_head.scale"])
def test_names_that_only_look_alike_are_nobodys_sign(name: str) -> None:
    assert check_full("./mine", LLAMA, base(**{name: ("F32", (4,))})) == ()


def renamed(change: str) -> dict[str, TensorInfo]:
    before, _, after = change.partition(" -> ")
    return {
        name.replace(before, after, 1) if name.startswith(before) or before.startswith(".") else name: info
        for name, info in base().items()
    }


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (" -> _orig_mod.", r"\(torch\.compile\): its tensor _orig_mod\.\S+ has _orig_mod in its name"),
        (" -> module.", r"\(DataParallel.*\): its tensor module\."),
        (" -> base_model.model.", r"\(PEFT\): its tensor base_model\.model\."),
        (" -> policy.", r"wrapper: its tensor policy\.\S+ has policy in its name"),
        ("model. -> model.model.", r"wrapper: its tensor model\.model\.\S+ has model in its name"),
        ("model. -> llm.", r"wrapper: its tensor llm\.\S+ has llm in its name"),
        (
            ".layers.0. -> .layers.0._orig_mod.",
            r"\(torch\.compile\): its tensor model\.layers\.0\._orig_mod\.",
        ),
        (".layers.1. -> .layers.1._fsdp_wrapped_module.", r"\(FSDP\)"),
        (".layers.1. -> .layers.1._checkpoint_wrapped_module.", r"\(activation checkpointing\)"),
    ],
)
def test_weights_saved_from_a_wrapper_are_refused_with_the_part_that_is_too_much(
    change: str, part: str
) -> None:
    with pytest.raises(SourceError, match=part):
        check_names("./mine", LLAMA, renamed(change))


@pytest.mark.parametrize(
    "change", [" -> ", "model. -> "], ids=["as it is", "without the base model's prefix"]
)
def test_names_that_transformers_reads_are_taken(change: str) -> None:
    check_names("./mine", LLAMA, renamed(change))


@pytest.mark.parametrize("kind", ["lora_A.weight", "lora_B.default.weight", "lora_magnitude_vector", "ia3_l"])
def test_an_adapter_among_the_weights_has_to_be_merged_first(kind: str) -> None:
    tensors = base(**{f"{STEM}.{kind}": ("BF16", (4, 96))})
    with pytest.raises(SourceError, match=f"holds an adapter that is not merged .*{kind}"):
        check_names("./mine", LLAMA, tensors)


def test_a_pointed_out_config_is_shown_safely(tmp_path: Path) -> None:
    config = LLAMA | {"quantization_config": {"quant_method": "x\x1b[31m" + "y" * 500}}
    (folder := write_model(tmp_path / "mine")).joinpath("config.json").write_text(json.dumps(config))
    (note,) = inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None).notes
    assert note.isprintable()
    assert len(note) < 300
