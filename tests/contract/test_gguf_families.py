"""What every family of GGUF files keeps to: its names of tensors, what a file says of it, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from quantize_lib.architecture import class_facts
from quantize_lib.gguf_file.families import FAMILIES, family_of, refusal
from quantize_lib.gguf_file.metadata import write_metadata
from quantize_lib.gguf_file.names import is_stack, named_on_disk, names_of, types_of
from quantize_lib.gguf_file.types import FILE_TYPES
from tests.support.gguf_configs import config_of

OF_MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
"""Its conversion renames experts before it asks the package for their names."""
BLOCK, EXPERT = 1, 3


def tensors_of(config: dict[str, Any]) -> list[str]:
    """What the class loads of a second block and outside, with the fourth expert of each mixture."""
    facts = class_facts.of(config)
    assert facts is not None
    found = []
    for name, tensor in facts.tensors.items():
        if tensor.is_needed(lambda key: facts.value(config, key)):
            start, _, rest = name.partition(".*")
            rest = rest.replace("*", str(EXPERT))
            found.append(f"{start}.{BLOCK}{rest}" if rest else name)
    return found


def mapped(config: dict[str, Any], name: str) -> str:
    """The package's name."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = family_of(config).architecture
    number = next(key for key, known in MODEL_ARCH_NAMES.items() if known == architecture)
    module, _, leaf = name.rpartition(".")
    module = module.replace(f"experts.{EXPERT}.", "experts.")
    for own, known in OF_MIXTRAL.items():
        module = module.replace(f"block_sparse_moe.experts.{own}", f"mlp.experts.{known}")
    written = get_tensor_name_map(number, 2).get_name(module)
    assert written is not None, name
    return f"{written}.{leaf}"


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_tensor_of_its_class_has_the_name_that_the_package_gguf_gives_it(model_type: str) -> None:
    config = config_of(model_type)
    tensors = tensors_of(config)
    assert len(tensors) > 8
    assert names_of(config, tensors) == {name: mapped(config, name) for name in tensors}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_names_in_a_file_lead_back_to_those_on_disk(model_type: str) -> None:
    config = config_of(model_type)
    for name, written in names_of(config, tensors_of(config)).items():
        assert named_on_disk(config, written).replace("*", str(EXPERT)) == name
        assert is_stack(written) == (f"experts.{EXPERT}." in name)
    with pytest.raises(KeyError):
        named_on_disk(config, "blk.0.ssm_a.weight")


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_file_says_what_llama_cpp_cannot_load_a_model_without(model_type: str) -> None:
    from gguf import GGUFWriter

    config, family = config_of(model_type), FAMILIES[model_type]
    writer = GGUFWriter(None, family.architecture)
    write_metadata(writer, config, name="tiny", number=7)
    said = {key.removeprefix(f"{family.architecture}.") for key in writer.kv_data[0]}
    kind = "epsilon" if family.layer_norm else "rms_epsilon"
    assert said >= {
        *("general.architecture", "general.file_type", "block_count", "context_length", "embedding_length"),
        *("feed_forward_length", "attention.head_count", "attention.head_count_kv", "rope.freq_base"),
        f"attention.layer_norm_{kind}",
    }
    assert (family.experts is not None) == ({"expert_count", "expert_used_count"} <= said)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_what_it_wants_of_a_config_is_refused_with_the_key_where_it_is_otherwise(model_type: str) -> None:
    family = FAMILIES[model_type]
    assert refusal(model_type, config_of(model_type)) is None
    for key in family.wanted:
        assert key in str(refusal(model_type, config_of(model_type, **{key: "other"})))
    for key in (*family.needed, *(family.experts.needed if family.experts else ())):
        assert f"does not say {key}" in str(refusal(model_type, config_of(model_type, **{key: None})))
    scaled = {"rope_parameters": {"rope_type": "other", "factor": 2.0}}
    assert "rope_type other" in str(refusal(model_type, config_of(model_type, **scaled)))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_routers_stay_as_they_are_in_every_type_of_file(model_type: str) -> None:
    config = config_of(model_type)
    named = names_of(config, tensors_of(config))
    for kind in FILE_TYPES:
        types = types_of(config, dict.fromkeys(named, (256, 256)), (), kind)
        for name, written in named.items():
            routes = "ffn_gate_inp" in written
            assert (name in types) != routes, name
