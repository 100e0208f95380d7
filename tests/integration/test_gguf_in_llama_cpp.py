"""Files beside llama.cpp's own: the same bytes, and the same logits. Needs the package llama-cpp-python."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import cycle
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from quantize_lib.files import read_json
from quantize_lib.gguf_file.blocks import to_blocks
from quantize_lib.gguf_file.choices import choices_for
from quantize_lib.gguf_file.names import names_of, stacks_of, types_of
from quantize_lib.gguf_file.types import FILE_TYPES
from quantize_lib.gguf_file.writer import write_file
from tests.support.gguf_configs import LLAMA_3
from tests.support.gguf_families import CASES, load_case, save_case
from tests.support.llama_cpp_files import quantize_file, read_file
from tests.support.small_runs import save_tiny_type

pytestmark = pytest.mark.llama_cpp

SHAPES: Mapping[str, tuple[str, dict[str, int]]] = {
    "rows of 256, nine blocks, values shared": (
        "llama",
        {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 9, "num_attention_heads": 4},
    ),
    "rows of 128, tied": (
        "qwen2",
        {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 17},
    ),
    "eighty blocks": (
        "llama",
        {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 80, "num_key_value_heads": 1},
    ),
    "shifted norms, tied, named otherwise": (
        "gemma3_text",
        {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64},
    ),
    "eight experts": (
        "mixtral",
        {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 8, "num_local_experts": 8},
    ),
    "shared and other experts": (
        "qwen2_moe-all",
        {"hidden_size": 256, "moe_intermediate_size": 256, "shared_expert_intermediate_size": 512},
    ),
    "one layer of queries, keys and values": (
        "phi3",
        {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 9},
    ),
    "rows of 48": (
        "qwen3",
        {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "head_dim": 128},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_is_byte_for_byte_what_llama_cpp_makes_of_the_same_weights_and_importance(
    shape: str, tmp_path: Path, calibration_text: Path
) -> None:
    model_type, sizes = SHAPES[shape]
    base = save_tiny_type(model_type, tmp_path / "base", calibration_text, **sizes)
    config = read_json(base / "config.json")
    weights = load_file(base / "model.safetensors")
    named = names_of(config, weights)
    whole = tmp_path / "whole.gguf"
    write = partial(write_file, base=base, config=config, name="tiny")
    write(whole, [base / "model.safetensors"], types={}, file_type="Q8_0")
    generator = torch.Generator().manual_seed(1)
    importance = {
        name: torch.rand(value.shape[1], generator=generator) ** 4 + 1e-3
        for name, value in weights.items()
        if value.dim() == 2 and "blk." in named[name]
    }
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    for file_type in FILE_TYPES:
        types = types_of(config, shapes, (), file_type)
        made = {
            name: to_blocks(value.float(), types[name], importance.get(name)) if name in types else value
            for name, value in weights.items()
        }
        save_file(made, tmp_path / "made.safetensors")
        ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
        write(ours, [tmp_path / "made.safetensors"], types=types, file_type=file_type)
        given = {
            written: torch.cat([importance[name] for name in names]).numpy()
            for written, names in stacks_of(named).items()
            if names[0] in importance
        }
        quantize_file(whole, theirs, file_type, given)
        mine, wanted = read_file(ours), read_file(theirs)
        assert {name: kind for name, (kind, _) in mine.items()} == {
            name: kind for name, (kind, _) in wanted.items()
        }
        assert [name for name in mine if mine[name] != wanted[name]] == []


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_loads_a_file_and_goes_on_as_transformers_does(
    case: str, tmp_path: Path, calibration_text: Path
) -> None:
    base = save_case(case, tmp_path / "base", calibration_text, hidden_size=256, intermediate_size=512)
    # In float32, which llama.cpp computes with as it is: it rounds the inputs of other types.
    found, wanted = both_go_on(base, tmp_path, {}, calibration_text)
    alike = torch.nn.functional.cosine_similarity(found, wanted, dim=1)
    # Keys and values are rounded to 16 bits, by which a router may choose another expert.
    assert alike.median() > 0.9999
    assert alike.min() > 0.99
    assert (found.argmax(1) == wanted.argmax(1)).float().mean() > 0.95


@pytest.mark.parametrize("hidden", [256, 288])
def test_llama_cpp_reads_every_type_that_a_tensor_may_get_of_its_own(
    hidden: int, tmp_path: Path, calibration_text: Path
) -> None:
    base = save_case("llama", tmp_path / "base", calibration_text, hidden_size=hidden)
    weights = load_file(base / "model.safetensors")
    matrices = {name: value.shape[1] for name, value in weights.items() if value.dim() == 2}
    turns = {columns: cycle(choices_for(columns)) for columns in set(matrices.values())}
    types = {name: next(turns[columns]) for name, columns in matrices.items()}
    assert set(types.values()) >= set(choices_for(hidden))
    found, wanted = both_go_on(base, tmp_path, types, calibration_text)
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=1).min() > 0.99


def both_go_on(
    base: Path, folder: Path, types: Mapping[str, str], text_file: Path
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of llama.cpp and of transformers, of a file whose other tensors are in float32."""
    import llama_cpp
    from tokenizers import Tokenizer

    config = read_json(base / "config.json")
    made = {
        name: to_blocks(value.float(), types[name]) if name in types else value.float()
        for name, value in load_file(base / "model.safetensors").items()
    }
    save_file(made, folder / "made.safetensors")
    file = folder / "tiny.gguf"
    shards = [folder / "made.safetensors"]
    write_file(file, shards, base=base, config=config, types=types, name="tiny", file_type="Q8_0")
    loaded = llama_cpp.Llama(str(file), n_ctx=128, n_threads=1, logits_all=True, verbose=False)
    text = text_file.read_text(encoding="utf-8")[:400]
    # transformers has classes that split otherwise than a file of another family says.
    ids = Tokenizer.from_file(str(base / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    assert loaded.tokenize(text.encode(), add_bos=False) == ids
    ids = ids[:96]
    loaded.eval(ids)
    copyfile(base / "config.json", folder / "config.json")
    model = load_case(file)
    with torch.inference_mode():
        wanted = model(input_ids=torch.tensor([ids])).logits[0]
    return torch.tensor(np.array(loaded.scores[: len(ids)])), wanted


WORDS = (
    "École ÉCOLE Straße ÜBER Αθήνα Ждёшь 中文 日本語 हिन्दी don't DON'T "
    "12345 1,234.56 a/b//c \n\n  x\t camelCase"
)


@pytest.mark.parametrize(("expression", "whole_first"), [
    (LLAMA_3, True), (LLAMA_3, False), (LLAMA_3.replace("{1,3}", ""), False),
])  # fmt: skip
def test_llama_cpp_splits_words_of_many_scripts_as_the_tokenizer_does(
    expression: str, whole_first: bool, tmp_path: Path, calibration_text: Path
) -> None:
    import llama_cpp
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    base = save_tiny_type("llama", tmp_path / "base", calibration_text, vocab_size=1024)
    made = Tokenizer(models.BPE(ignore_merges=whole_first))
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(expression), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1000, initial_alphabet=letters, show_progress=False)
    made.train_from_iterator([WORDS * 9], trainer)
    made.save(str(base / "tokenizer.json"))
    file = tmp_path / "tiny.gguf"
    shards, config = [base / "model.safetensors"], read_json(base / "config.json")
    write_file(file, shards, base=base, config=config, types={}, name="tiny", file_type="Q8_0")
    loaded = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
    for text in (WORDS, *WORDS.split()):
        ids = made.encode(text, add_special_tokens=False).ids
        assert loaded.tokenize(text.encode(), add_bos=False) == ids, text
