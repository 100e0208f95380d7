"""Models as people hand them in, through the whole command: what comes out is what their users need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib.files import read_json, sha256_file
from quantize_lib.job.job_file import JobCell, JobFile, JobModel, write_job
from quantize_lib.methods.settings import Settings
from tests.support.hub import Hub, serve
from tests.support.model_files import LLAMA, write_model
from tests.support.small_runs import (
    FASTEST,
    ROOT,
    command,
    environment,
    evaluation,
    manifest,
    report,
    save_tiny_model,
)

CELL = "tiny-bnb-8bit"
OURS: dict[str, Any] = {
    **{
        "use_cache": False,
        "output_hidden_states": True,
        "return_dict": False,
        "gradient_checkpointing": True,
    },
    **{"_attn_implementation": "flash_attention_2", "torch_dtype": "bf16", "architectures": None},
    **{"quantization_config": {"quant_method": "gptq", "bits": 4}, "quantization": {"bits": 4}},
    "auto_map": {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "acme/a--modeling.Own"},
}
LOAD = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
for trusted in json.loads(sys.argv[2]):
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=trusted)
    AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=trusted)
    ids = torch.tensor([[5, 6, 7]])
    print(type(model).__module__, model.dtype, tuple(model(input_ids=ids).logits.shape))
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("The river walks over stones at night, and apples fall. " * 300, encoding="utf-8")
    return path


def loaded(folder: Path, home: Path, *trusted: bool | None) -> list[str]:
    """What plain transformers says of a checkpoint, loaded with and without trust in its code."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), json.dumps(trusted)],
        env=environment(HF_HOME=str(home), HF_HUB_OFFLINE="1"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_is_ours_to_choose_changes_nothing_of_what_comes_out(tmp_path: Path, text: Path) -> None:
    plain = save_tiny_model(tmp_path / "plain" / "tiny", text)
    odd = save_tiny_model(tmp_path / "odd" / "tiny", text)
    config = read_json(plain / "config.json")
    (odd / "config.json").write_text("\ufeff" + json.dumps(config | OURS), encoding="utf-8")
    tokenizer = read_json(odd / "tokenizer_config.json")
    named = {"auto_map": {"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]}}
    (odd / "tokenizer_config.json").write_text(json.dumps(tokenizer | named), encoding="utf-8")
    for folder in (plain, odd):
        path = manifest(folder.parent, folder, text, FASTEST, evaluate=evaluation(text))
        done = command("run", path, "--output", folder.parent / "out", "--no-publish", cwd=folder.parent)
        assert done.returncode == 0, done.stderr
    one, two = (report(folder.parent / "out")[CELL] for folder in (plain, odd))
    assert one["notes"] == []
    assert [note.partition(",")[0] for note in two["notes"]] == [
        "config.json says under quantization_config that the model is quantized (gptq)",
        "config.json says under quantization that the model is quantized",
        "config.json asks for the attention `flash_attention_2` (_attn_implementation)",
        "config.json says torch_dtype: `bf16`",
        "config.json says return_dict: false",
    ]
    checkpoints = [folder.parent / "out" / CELL for folder in (plain, odd)]
    assert sha256_file(checkpoints[0] / "model.safetensors") == sha256_file(
        checkpoints[1] / "model.safetensors"
    )
    written = read_json(checkpoints[1] / "config.json")
    kept = {key: OURS[key] for key in ("use_cache", "output_hidden_states", "gradient_checkpointing")}
    assert written == read_json(checkpoints[0] / "config.json") | kept | {"torch_dtype": "bfloat16"}
    assert read_json(checkpoints[1] / "tokenizer_config.json") == tokenizer
    assert [path.name for path in (odd.parent / "out").iterdir() if path.name.startswith(".")] == [".state"]
    lines = loaded(checkpoints[1], tmp_path / "home", None, False, True)
    assert lines == ["transformers.models.llama.modeling_llama torch.bfloat16 (1, 3, 512)"] * 3


def test_plan_says_of_each_model_what_is_wrong_with_it(tmp_path: Path, text: Path) -> None:
    one, two = (write_model(tmp_path / name, LLAMA | {"pad_token_id": 64}) for name in ("one", "two"))
    path = manifest(tmp_path, one, text, FASTEST)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    models = [{"id": str(model), "quantize": FASTEST} for model in (one, two)]
    path.write_text(yaml.safe_dump({**document, "models": models}), encoding="utf-8")
    done = command("plan", path, cwd=tmp_path)
    assert done.returncode == 3
    for model in (one, two):
        assert f"error: {model}: config.json: pad_token_id is 64; 0 to 63 " in done.stderr
    assert done.stdout == ""


def test_an_adapter_beside_a_hub_model_is_told_on_every_card_though_it_is_not_fetched(
    tmp_path: Path, text: Path
) -> None:
    base = save_tiny_model(tmp_path / "tiny", text)
    files = {path.name: path.read_bytes() for path in base.iterdir()}
    hub = Hub()
    hub.add_model("acme/tiny", {**files, "adapter_config.json": b'{"base_model_name_or_path": "acme/base"}'})
    path = manifest(tmp_path, Path("acme/tiny"), text, FASTEST)
    with serve(hub):
        env = environment(**hub.environment(tmp_path / "home"))
        done = command("run", path, "--output", tmp_path / "out", "--no-publish", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    (note,) = report(tmp_path / "out")[CELL]["notes"]
    assert note.startswith(
        "adapter_config.json lies beside the weights: the adapter for `acme/base` is not applied"
    )
    assert note in " ".join(done.stderr.split())
    assert "is not applied" in (tmp_path / "out" / CELL / "README.md").read_text(encoding="utf-8")


def test_code_that_is_trusted_travels_and_is_what_loads_the_checkpoint(tmp_path: Path, text: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny", text)
    named = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    config = read_json(base / "config.json") | {"auto_map": named, "use_cache": False}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (base / "configuration_own.py").write_text(
        "from transformers import LlamaConfig as Base\n\n\nclass OwnConfig(Base):\n    pass\n",
        encoding="utf-8",
    )
    (base / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\n\nfrom .configuration_own import OwnConfig\n\n\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n",
        encoding="utf-8",
    )
    (cell,) = FASTEST
    job = JobFile(
        id="tiny-auto",
        model=JobModel(path=base, name="tiny", revision="0" * 40, trust_remote_code=True),
        device="cpu",
        calibration=None,
        evaluation=None,
        cells=(JobCell(id=CELL, settings=Settings(**cell)),),
        output=tmp_path / "out",
    )
    (tmp_path / "out").mkdir()
    write_job(tmp_path / "job.json", job)
    home = tmp_path / "home"
    env = environment(HF_HOME=str(home), HF_HUB_OFFLINE="1", PYTHONPATH=str(ROOT))
    done = command("job", tmp_path / "job.json", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / "out" / CELL
    assert read_json(checkpoint / "config.json")["auto_map"] == named
    for name in ("configuration_own.py", "modeling_own.py"):
        assert (checkpoint / name).read_bytes() == (base / name).read_bytes()
    classes = [line.partition(" ")[0].rpartition(".")[2] for line in loaded(checkpoint, home, False, True)]
    assert classes == ["modeling_llama", "modeling_own"]
