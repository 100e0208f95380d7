"""Checkpoints loaded from disk by a real fresh process."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from quantize_lib.environment import clean_environment
from quantize_lib.errors import EvaluationError
from quantize_lib.evaluate.check import check_reload, generate_base
from quantize_lib.files import read_json, write_json
from quantize_lib.formats import format_of_config
from quantize_lib.job.records import Reload
from quantize_lib.logits import Predictions
from quantize_lib.methods.settings import Override, Settings
from quantize_lib.metrics import COMPARED
from tests.support.families import VOCABULARY, save_family
from tests.support.quantizing import GROUP_SIZE, quantize

WORDS = [
    "<s>",
    "</s>",
    "<unk>",
    "The",
    "capital",
    "of",
    "France",
    "is",
    "Paris",
    *(f"w{i}" for i in range(119)),
]
Sample = tuple[Path, Path]
PROMPT = "The capital of France is"
RELOAD = "from quantize_lib.evaluate.reload import main; main(['spec.json', 'result.json'])"
RELOAD_PLAIN = f"""
from quantize_lib.formats import awq, gptq
# As in a CUDA container without a compiler, but on the device that is here.
awq.plain_backend = gptq.plain_backend = lambda request, name: name
{RELOAD}
"""
EIGHT_BIT_DOWN = Override(modules="*.down_proj", bits=8)


def save_tokenizer(folder: Path) -> None:
    """A tokenizer of whole words."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(WORDS),
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_range=0.3,
    )
    config.dtype = torch.bfloat16
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def sample(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Token ids and the base model's logits of them."""
    folder = tmp_path_factory.mktemp("sample")
    ids = torch.randint(3, len(WORDS), (2, 24), generator=torch.Generator().manual_seed(1))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(ids).logits
    save_file({"ids": ids}, folder / "ids.safetensors")
    save_file({"logits": logits.contiguous()}, folder / "logits.safetensors")
    return folder / "ids.safetensors", folder / "logits.safetensors"


def _means(logits: torch.Tensor, base_logits: torch.Tensor, ids: torch.Tensor) -> dict[str, float]:
    """Every metric's mean, as the pass gives them."""
    return {
        name: metric.mean(metric.per_token(Predictions(logits), Predictions(base_logits), ids))
        for name, metric in COMPARED.items()
    }


def _expected(folder: Path, sample: Sample) -> dict[str, float]:
    ids, base_logits = load_file(sample[0])["ids"], load_file(sample[1])["logits"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu")
    with torch.inference_mode():
        return _means(model(ids).logits, base_logits, ids)


def _check(folder: Path, sample: Sample | None, expected: dict[str, float] | None, work: Path) -> Reload:
    return check_reload(
        folder,
        prompt=PROMPT,
        sample=sample[0] if sample else None,
        base_logits=sample[1] if sample else None,
        expected=expected,
        work=work,
    )


def _changed(base: Path, target: Path, change: dict[str, torch.Tensor | None]) -> Path:
    """A copy of `base` with some tensors replaced or, for None, left out."""
    shutil.copytree(base, target)
    tensors = load_file(target / "model.safetensors")
    for name, value in change.items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_a_true_checkpoint_is_reproduced_tightly(base: Path, sample: Sample, tmp_path: Path) -> None:
    expected = _expected(base, sample)
    reload = _check(base, sample, expected, tmp_path)
    assert reload.reproduced
    assert reload.dtype == "float32"
    assert reload.sample_tokens == 48
    perplexity, divergence = reload.sample["perplexity"], reload.sample["kl_divergence"]
    assert perplexity.of_pass == math.exp(expected["perplexity"])
    assert perplexity.reloaded == pytest.approx(perplexity.of_pass, rel=1e-4)
    assert divergence.reloaded == pytest.approx(0.0, abs=1e-5)
    assert reload.load_seconds > 0
    assert 100e6 < reload.peak_memory_bytes < 4e9
    assert reload.generated == generate_base(base, prompt=PROMPT, work=tmp_path)
    assert reload.generated
    assert PROMPT not in reload.generated


@pytest.mark.parametrize("bits", [4, 8])
def test_a_bitsandbytes_checkpoint_is_reproduced(
    bits: int, base: Path, sample: Sample, tmp_path: Path
) -> None:
    folder = tmp_path / f"bnb{bits}"
    config = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(base, quantization_config=config, device_map="cpu")
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder)
    reload = _check(folder, sample, _expected(folder, sample), tmp_path)
    assert reload.reproduced
    assert reload.sample["kl_divergence"].reloaded is not None
    assert reload.sample["kl_divergence"].reloaded > 0


def test_overrides_of_gptq_are_reloaded_through_gptqmodel(tmp_path: Path) -> None:
    base = save_family("llama", tmp_path / "base")
    save_tokenizer(base)
    settings = Settings(method="gptq", bits=4, group_size=GROUP_SIZE, overrides=(EIGHT_BIT_DOWN,))
    made, _ = quantize(base, tmp_path / "mixed", settings)
    save_tokenizer(tmp_path / "mixed")
    ids = torch.randint(3, VOCABULARY, (2, 32), generator=torch.Generator().manual_seed(3))
    intended: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.inference_mode():
        base_logits = intended(ids).logits
        for index, output in made.outputs.items():
            for name, layer in output.layers.items():
                intended.get_submodule(f"model.layers.{index}.{name}").weight.copy_(layer.weight)
        expected = _means(intended(ids).logits, base_logits, ids)
    save_file({"ids": ids}, tmp_path / "ids.safetensors")
    save_file({"logits": base_logits.contiguous()}, tmp_path / "logits.safetensors")
    sample = tmp_path / "ids.safetensors", tmp_path / "logits.safetensors"
    assert _check(tmp_path / "mixed", sample, expected, tmp_path).reproduced


@pytest.mark.parametrize(("method", "overrides"), [("gptq", ()), ("gptq", (EIGHT_BIT_DOWN,)), ("awq", ())])
def test_the_plain_kernels_of_a_machine_without_a_compiler_say_the_same(
    method: str,
    overrides: tuple[Override, ...],
    tmp_path: Path,
) -> None:
    base, made = save_family("llama", tmp_path / "base"), tmp_path / "made"
    settings = Settings(method=method, bits=4, group_size=GROUP_SIZE, overrides=overrides)
    quantize(base, made, settings)
    save_tokenizer(made)
    config = read_json(made / "config.json")["quantization_config"]
    ids = torch.randint(3, VOCABULARY, (2, 32), generator=torch.Generator().manual_seed(3))
    save_file({"ids": ids}, tmp_path / "ids.safetensors")
    results = {}
    for plain in (False, True):
        spec = {"folder": str(made), "prompt": PROMPT, "new_tokens": 2, "device": "cpu", "dtype": "float32"}
        spec |= {"sample": str(tmp_path / "ids.safetensors"), "base_logits": None, "room": False}
        write_json(tmp_path / "spec.json", {**spec, "trust_remote_code": False})
        done = subprocess.run(
            [sys.executable, "-c", RELOAD_PLAIN if plain else RELOAD],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        results[plain] = read_json(tmp_path / "result.json")["means"]
        assert results[plain].keys() == {"perplexity"}
        # GPTQModel's own choice on a CPU.
        assert ("TorchAten" in done.stdout) == (not plain)
    metric = COMPARED["perplexity"]
    chosen = format_of_config(config)
    assert chosen is not None
    tolerance = metric.tolerances[chosen.precision("float32", config)]
    assert tolerance.allows(results[True][metric.name], results[False][metric.name])


def test_kept_weights_give_the_logits_that_dequantized_ones_give(tmp_path: Path) -> None:
    base, made = save_family("llama", tmp_path / "base"), tmp_path / "made"
    quantize(base, made, Settings(method="gptq", bits=8, group_size=GROUP_SIZE))
    loaded: Any = AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32)
    chosen = format_of_config(loaded.config.quantization_config.to_dict())
    assert chosen is not None
    ids = torch.arange(3, 19).unsqueeze(0)
    layer = loaded.model.layers[0].mlp.down_proj
    with torch.inference_mode():
        before = loaded(input_ids=ids).logits
        assert chosen.keep_dequantized(loaded)
        loaded(input_ids=ids)
        # From here on it is not looked at.
        layer.qweight.zero_()
        assert torch.equal(loaded(input_ids=ids).logits, before)


def test_a_checkpoint_whose_files_say_something_else_is_not_reproduced(
    base: Path, sample: Sample, tmp_path: Path
) -> None:
    name = "model.layers.0.mlp.down_proj.weight"
    rolled = load_file(base / "model.safetensors")[name].roll(1, dims=0).contiguous()
    broken = _changed(base, tmp_path / "broken", {name: rolled})
    reload = _check(broken, sample, _expected(base, sample), tmp_path)
    assert not reload.reproduced
    perplexity = reload.sample["perplexity"]
    assert perplexity.reloaded != pytest.approx(perplexity.of_pass, rel=0.01)


def test_a_missing_tensor_is_named_although_transformers_only_warns(base: Path, tmp_path: Path) -> None:
    broken = _changed(base, tmp_path / "broken", {"model.layers.1.mlp.up_proj.weight": None})
    with pytest.raises(EvaluationError) as caught:
        _check(broken, None, None, tmp_path)
    assert caught.value.message == (
        "broken: tensors that the model needs are missing from the files: model.layers.1.mlp.up_proj.weight"
    )


def test_logits_that_are_not_finite_are_an_error(base: Path, sample: Sample, tmp_path: Path) -> None:
    name = "model.norm.weight"
    broken = _changed(base, tmp_path / "broken", {name: torch.full((64,), math.nan, dtype=torch.bfloat16)})
    with pytest.raises(EvaluationError, match="NaN or Inf logits for sample sequence 0"):
        _check(broken, sample, {"perplexity": 1.0, "kl_divergence": 0.0}, tmp_path)


def test_a_checkpoint_that_does_not_load_is_an_error_that_quotes_why(base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "model_type": "nothing-like-it"}))
    with pytest.raises(EvaluationError) as caught:
        _check(broken, None, None, tmp_path)
    assert caught.value.message.startswith("broken: it cannot be loaded (ValueError: ")
    assert "nothing-like-it" in caught.value.message
    assert "\n" not in caught.value.message
    assert "Traceback" in (tmp_path / "broken.log").read_text()


def test_a_reload_without_end_is_ended(base: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="took longer than 0 s"):
        generate_base(base, prompt=PROMPT, work=tmp_path, timeout=0.1)


def test_the_child_finds_no_token_even_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("hf_secret")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_other_secret")
    script = "import huggingface_hub; print(huggingface_hub.get_token())"
    said = subprocess.run(
        [sys.executable, "-c", script], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "None"


def test_peak_memory_is_the_childs_own_and_not_its_parents() -> None:
    parent = (
        "import subprocess, sys; ballast = b'x' * (400 << 20);"
        "script = 'from quantize_lib.process_memory import peak_memory; print(peak_memory(\"cpu\"))';"
        "print(subprocess.run([sys.executable, '-c', script], capture_output=True, text=True).stdout)"
    )
    said = subprocess.run(
        [sys.executable, "-c", parent], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert 1e6 < int(said.stdout) < 200e6
