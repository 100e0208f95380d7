"""Whatever a model's small files hold, they are taken, told of, or refused in words that can be shown."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.config_values import run_config, written_config
from quantize_lib.errors import SourceError
from quantize_lib.files import is_lfs_pointer
from quantize_lib.source import inspect
from quantize_lib.source.model_spec import ModelSpec
from tests.support.model_files import LLAMA, llama_shapes, write_model, write_shard

TEXT = st.text(st.sampled_from("a1 .`\n\x1b\u202e\ud83d"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
KINDS = () if (llama := class_facts.of(LLAMA)) is None else tuple(llama.kinds)
KEYS = st.sampled_from(
    [
        *KINDS,
        *("quantization_config", "compression_config", "quantization", "auto_map", "architectures", "dtype"),
        *("torch_dtype", "_attn_implementation", "attn_implementation", "return_dict", "use_cache"),
        *("layer_types", "torchscript", "model_type"),
    ]
)


def look(folder: Path) -> tuple[str, ...]:
    """The notes on a model, or what it is refused with."""
    try:
        facts = inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None)
    except SourceError as error:
        return (error.message, error.hint or "")
    json.dumps(run_config(facts.config))
    json.dumps(written_config(facts.config, dtype="bfloat16", model_class="LlamaForCausalLM"))
    return facts.notes


@given(st.dictionaries(KEYS, JSON, max_size=3))
def test_any_value_of_the_config_is_taken_or_refused(change: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_model(Path(name) / "mine")
        (folder / "config.json").write_text(json.dumps(LLAMA | change), encoding="utf-8")
        assert all(sentence.isprintable() for sentence in look(folder))


@given(JSON | st.fixed_dictionaries({}, optional={"peft_type": JSON, "base_model_name_or_path": JSON}))
def test_any_description_of_an_adapter_is_told(described: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_model(Path(name) / "mine")
        (folder / "adapter_config.json").write_text(json.dumps(described), encoding="utf-8")
        (note,) = look(folder)
        assert note.isprintable()
        (folder / "model.safetensors").unlink()
        message, _ = look(folder)
        assert message.isprintable()
        assert message.startswith("./mine is an adapter")


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["qweight", "scales", "biases", "weight_scale", "SCB", "W_q", "weight.absmax", "_orig_mod.x"]
        ),
        st.lists(st.integers(1, 3), max_size=3).map(tuple),
        max_size=4,
    ),
    st.sampled_from(["model.layers.0.self_attn.q_proj", "module.model.norm", "x"]),
)
def test_any_tensors_beside_the_weights_are_taken_told_of_or_refused(
    more: dict[str, tuple[int, ...]], stem: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_model(Path(name) / "mine")
        shapes = llama_shapes() | {f"{stem}.{ending}": shape for ending, shape in more.items()}
        write_shard(folder / "model.safetensors", shapes)
        assert all(sentence.isprintable() for sentence in look(folder))


@given(st.binary(max_size=1100))
def test_only_a_pointer_is_taken_for_one(data: bytes) -> None:
    assert not is_lfs_pointer(data)
