"""Tokenizers as people hand them in: what the model's users get is used, or refused before any download."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from quantize_lib.errors import SourceError
from quantize_lib.files import read_json, write_json, write_text
from quantize_lib.tokenizer.loading import load_tokenizer
from tests.support.hub import Hub, serve
from tests.support.model_files import LLAMA, write_model
from tests.support.small_runs import (
    FASTEST,
    command,
    environment,
    evaluation,
    manifest,
    report,
    save_tiny_model,
)

GPTQ = [{"method": "gptq", "bits": 4}]
END = "<|im_end|>"
ROWS = 512


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model. Read only."""
    return save_tiny_model(tmp_path_factory.mktemp("tokenizers") / "tiny", calibration_text)


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A tiny model to change."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose cache is empty."""
    return environment(XDG_CACHE_HOME=str(tmp_path / "cache"), HF_HUB_OFFLINE="1")


def change(file: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    write_json(file, {**read_json(file), **values})


def plan(
    model: Path, text: Path, env: dict[str, str], *, held_out: Path | None = None, quantize: Any = GPTQ
) -> tuple[int, str]:
    """The exit code and what was said."""
    more = {"evaluate": evaluation(held_out or text)}
    done = command("plan", manifest(model.parent, model, text, quantize, **more), cwd=model.parent, env=env)
    return done.returncode, done.stderr


def split_digits(model: Path) -> None:
    """A file that isolates digits, over a vocabulary that joins some."""
    data = read_json(model / "tokenizer.json")
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    for pair in (["5", "6"], ["7", "8"]):
        if "".join(pair) not in vocab:
            # In the place of the last merges, so that no id is beyond the model's rows.
            left, right = merges.pop()
            vocab["".join(pair)] = vocab.pop(left + right)
            merges.append(pair)
    steps = [{"type": "Digits", "individual_digits": True}, data["pre_tokenizer"]]
    data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    write_json(model / "tokenizer.json", data)


def declare(model: Path, kind: str) -> None:
    """Name a class; its own unknown token would be one more than the model has rows for."""
    change(model / "tokenizer_config.json", tokenizer_class=kind, unk_token="<s>")


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "GPTNeoXTokenizerFast"])
def test_a_class_that_ignores_how_the_file_splits_is_told_with_an_example(
    kind: str, model: Path, calibration_text: Path, env: dict[str, str]
) -> None:
    split_digits(model)
    assert plan(model, calibration_text, env) == (0, "")
    declare(model, kind)
    code, said = plan(model, calibration_text, env)
    assert code == 0
    assert said.startswith(f"warning: {model}: transformers, as the model's users get it (GPT")
    assert re.search(r"reads text otherwise than tokenizer.json says: `[^`]*\d[^`]*` is \[\d", said)


def test_a_damaged_file_of_which_transformers_takes_the_vocabulary_is_told(
    model: Path, calibration_text: Path, env: dict[str, str]
) -> None:
    data = read_json(model / "tokenizer.json")
    data["model"]["vocab"]["!"] = True
    write_json(model / "tokenizer.json", data)
    declare(model, "GPT2Tokenizer")
    code, said = plan(model, calibration_text, env)
    assert code == 0
    assert f"warning: {model}: tokenizer.json is damaged (invalid type: boolean `true`, expected" in said


def test_the_warning_is_in_log_report_and_card_and_told_once(
    model: Path, calibration_text: Path, env: dict[str, str]
) -> None:
    split_digits(model)
    declare(model, "GPT2Tokenizer")
    folder = model.parent
    path = manifest(
        folder, model, calibration_text, FASTEST, publish={"to": "directory", "path": "published"}
    )
    done = command("run", path, "--output", "out", cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    (cell,) = report(folder / "out").values()
    (note,) = cell["notes"]
    assert "reads text otherwise than tokenizer.json says" in note
    assert done.stderr.count(note) == 1
    assert "reads text otherwise" in (folder / "published" / cell["repository"] / "README.md").read_text()


def add_token(model: Path) -> None:
    """A token beyond the model's rows."""
    data = read_json(model / "tokenizer.json")
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    data["added_tokens"].append({"id": ROWS, "content": END, "special": True, **flags})
    write_json(model / "tokenizer.json", data)


def begin(model: Path) -> None:
    """Let the added token stand in front of each text."""
    data = read_json(model / "tokenizer.json")
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": END, "type_id": 0}}, sequence],
        "pair": [sequence, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {END: {"id": END, "ids": [ROWS], "tokens": [END]}},
    }
    write_json(model / "tokenizer.json", data)


@pytest.fixture(scope="module")
def pieces(calibration_text: Path) -> list[str]:
    """Text in pieces of which each window holds more than one."""
    rows = [json.loads(line)["text"] for line in calibration_text.read_text(encoding="utf-8").splitlines()]
    whole = " ".join(rows[:20])
    return [whole[start : start + 50] for start in range(0, len(whole), 50)]


BEYOND: dict[str, tuple[Callable[[Path], None], str]] = {
    "end": (
        lambda model: change(model / "tokenizer_config.json", eos_token=END),
        f"calibration (`pieces.jsonl`): the tokenizer puts the token `{END}` (id {ROWS}) after each document",
    ),
    "begin": (begin, f"the tokenizer puts the token `{END}` (id {ROWS}) in front of each text"),
}


@pytest.mark.parametrize("case", BEYOND)
def test_a_token_of_the_tokenizers_own_beyond_the_embedding_is_refused_by_plan(
    case: str, model: Path, pieces: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    add_token(model)
    damage, message = BEYOND[case]
    damage(model)
    text = tmp_path / "pieces.jsonl"
    text.write_text("".join(json.dumps({"text": piece}) + "\n" for piece in pieces), encoding="utf-8")
    code, said = plan(model, text, env)
    assert code == 3
    assert f"error: {model}: {message}, and the model's embedding has {ROWS} rows" in said


@pytest.mark.parametrize("place", ["calibration", "evaluation"])
def test_text_with_a_token_beyond_the_embedding_is_refused_by_plan(
    place: str, model: Path, calibration_text: Path, pieces: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    add_token(model)
    text = tmp_path / "with-end.txt"
    text.write_text(f" {END} ".join(pieces), encoding="utf-8")
    texts = (text, calibration_text) if place == "calibration" else (calibration_text, text)
    code, said = plan(model, texts[0], env, held_out=texts[1])
    assert code == 3
    assert f"{place} (`{text.name}`): the text gives the token `{END}` (id {ROWS})" in said


def test_a_token_beyond_the_embedding_that_nothing_uses_is_a_warning(
    model: Path, calibration_text: Path, env: dict[str, str]
) -> None:
    add_token(model)
    change(model / "tokenizer_config.json", pad_token=END)
    code, said = plan(model, calibration_text, env)
    assert code == 0
    assert said.startswith(f"warning: {model}: the tokenizer has the token `{END}` (id {ROWS}), for which")


def sentencepiece(model: Path, text: Path) -> None:
    """The tokenizer as a `tokenizer.model` alone."""
    from sentencepiece import SentencePieceTrainer

    (model / "tokenizer.json").unlink()
    written = io.BytesIO()
    rows = (json.loads(line)["text"] for line in text.read_text(encoding="utf-8").splitlines())
    SentencePieceTrainer.train(
        sentence_iterator=rows,
        model_writer=written,
        vocab_size=ROWS,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    (model / "tokenizer.model").write_bytes(written.getvalue())
    kind = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    write_json(model / "tokenizer_config.json", kind)


def tiktoken(model: Path, _: Path) -> None:
    """The same as Llama 3 wrote it first: a `tokenizer.model` in tiktoken's form."""
    (model / "tokenizer.json").unlink()
    lines = [base64.b64encode(bytes([byte])) + f" {byte}\n".encode() for byte in range(256)]
    (model / "tokenizer.model").write_bytes(b"".join(lines))
    write_json(model / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


@pytest.mark.parametrize("make", [sentencepiece, tiktoken])
def test_a_tokenizer_model_alone_is_quantized_and_travels(
    make: Callable[[Path, Path], None], model: Path, calibration_text: Path, env: dict[str, str]
) -> None:
    make(model, calibration_text)
    path = manifest(model.parent, model, calibration_text, GPTQ)
    done = command("run", path, "--output", "out", cwd=model.parent, env=env)
    assert done.returncode == 0, done.stderr
    (cell,) = report(model.parent / "out").values()
    assert {"tokenizer.model", "tokenizer_config.json"} <= set(cell["files"])


def _vocabulary(model: Path, name: str, text: str, **config: Any) -> None:
    (model / "tokenizer.json").unlink()
    (model / name).write_text(text, encoding="utf-8")
    write_json(model / "tokenizer_config.json", config)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no merges": (
        lambda model: _vocabulary(model, "vocab.json", '{"a": 0, "b": 1}', tokenizer_class="Qwen2Tokenizer"),
        "the tokenizer cannot be loaded: vocab.json has no merges.txt beside it",
    ),
    "a vocabulary of another class": (
        lambda model: _vocabulary(model, "vocab.txt", "[UNK]\na\nb\n", tokenizer_class="Qwen2Tokenizer"),
        "the tokenizer gives no tokens: transformers' Qwen2Tokenizer reads merges.txt, tokenizer.json and "
        "vocab.json, and the model has `vocab.txt`",
    ),
    "a .model that is no tokenizer": (
        lambda model: _vocabulary(model, "reward.model", "x" * 99, tokenizer_class="LlamaTokenizer"),
        "the tokenizer gives no tokens: transformers' LlamaTokenizer reads tokenizer.json and "
        "tokenizer.model, and the model has `reward.model`",
    ),
    "a tiktoken file of code that is not there": (
        lambda model: _vocabulary(model, "qwen.tiktoken", "IQ== 0\n", tokenizer_class="QWenTokenizer"),
        "the tokenizer cannot be loaded: transformers' `QWenTokenizer` makes none of `qwen.tiktoken`",
    ),
    "code": (
        lambda model: _vocabulary(
            model,
            "foo.tiktoken",
            "IQ== 0\n",
            tokenizer_class="FooTokenizer",
            auto_map={"AutoTokenizer": ["tokenization_foo.FooTokenizer", None]},
        ),
        "the tokenizer is code of the model's author (tokenizer_config.json: auto_map), which is not run",
    ),
    "a config that is no object": (
        lambda model: write_json(model / "tokenizer_config.json", []),
        "the tokenizer cannot be loaded: tokenizer_config.json holds no JSON object",
    ),
    "a class that is no name": (
        lambda model: change(model / "tokenizer_config.json", tokenizer_class=5),
        "the tokenizer cannot be loaded: tokenizer_config.json: tokenizer_class is 5, not the name of a",
    ),
    "half a file": (
        lambda model: write_text(model / "tokenizer.json", '{"version": "1.0", "mod'),
        "the tokenizer cannot be loaded: tokenizer.json holds no tokenizer",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_transformers_makes_no_tokenizer_of_is_refused_by_plan_with_the_way_out(
    case: str, model: Path, calibration_text: Path, env: dict[str, str]
) -> None:
    damage, message = REFUSED[case]
    damage(model)
    code, said = plan(model, calibration_text, env, quantize=FASTEST)
    assert code == 3
    assert f"error: {model}: {message}" in said
    assert "tokenizer.json" in said.splitlines()[-1]
    assert "Traceback" not in said


def test_what_the_library_panics_over_is_an_error_and_no_end_of_the_process(model: Path) -> None:
    data = read_json(model / "tokenizer.json")
    data["model"]["continuing_subword_prefix"] = "no"
    write_json(model / "tokenizer.json", data)
    with pytest.raises(SourceError, match="the tokenizer cannot be loaded"):
        load_tokenizer(model, trust_remote_code=False)


def test_a_bad_tokenizer_ends_no_other_models_job(
    tiny: Path, model: Path, calibration_text: Path, env: dict[str, str], tmp_path: Path
) -> None:
    (model / "tokenizer.json").write_text("{}", encoding="utf-8")
    path = manifest(tmp_path, model, calibration_text, FASTEST)
    words = yaml.safe_load(path.read_text())
    words["models"].append({"id": str(tiny), "name": "good", "quantize": FASTEST})
    path.write_text(yaml.safe_dump(words))
    done = command("run", path, "--output", "out", cwd=tmp_path, env=env)
    assert done.returncode == 3
    assert {name: cell["status"] for name, cell in report(tmp_path / "out").items()} == {
        "tiny-bnb-8bit": "failed",
        "good-bnb-8bit": "published",
    }


def test_a_model_with_too_few_positions_for_the_check_after_the_reload_is_refused_by_plan(
    calibration_text: Path, env: dict[str, str], tmp_path: Path
) -> None:
    model = save_tiny_model(tmp_path / "gpt2", calibration_text, model_type="gpt2")
    tensors = load_file(model / "model.safetensors")
    (table,) = (name for name in tensors if name.endswith("wpe.weight"))
    tensors[table] = tensors[table][:20].clone()
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    change(model / "config.json", n_positions=20)
    code, said = plan(model, calibration_text, env)
    assert code == 2
    assert "calibration.sequence_length is 64, and the model has 20 positions" in said
    path = manifest(tmp_path, model, calibration_text, FASTEST)
    done = command("plan", path, cwd=tmp_path, env=env)
    assert done.returncode == 3
    assert "the model has 20 positions, and the check after the reload needs" in done.stderr


def test_the_second_plan_tries_nothing_again(
    model: Path, calibration_text: Path, env: dict[str, str]
) -> None:
    first = plan(model, calibration_text, env)
    start = time.monotonic()
    assert plan(model, calibration_text, env) == first == (0, "")
    # Importing transformers alone takes longer.
    assert time.monotonic() - start < 1.5
    assert len(list((model.parent / "cache" / "model-quantizer" / "tokenizers").iterdir())) == 1


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub()) as server:
        server.add_token("hf_reader", "reader", "read")
        yield server


def test_of_a_hub_model_plan_fetches_the_tokenizer_and_no_weights(hub: Hub, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", {**LLAMA, "vocab_size": 40_000})
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    # Of the letters, those behind the first forty.
    config = {**LLAMA, "vocab_size": 40_000}
    hub.add_model("acme/good", {**files, "config.json": json.dumps(config).encode()})
    hub.add_model("acme/bad", {**files, "tokenizer.json": b"{}"})
    path = tmp_path / "quantize.yml"
    models = [{"id": f"acme/{name}", "quantize": FASTEST} for name in ("bad", "good")]
    path.write_text(yaml.safe_dump({"version": 1, "models": models}), encoding="utf-8")
    env = environment(
        **hub.environment(tmp_path / "home"),
        HF_TOKEN_READ="hf_reader",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    done = command("plan", path, cwd=tmp_path, env=env)
    assert done.returncode == 3
    error = "error: acme/bad: the tokenizer cannot be loaded: tokenizer.json holds no tokenizer"
    assert error in done.stderr
    assert hub.sent("tokenizer.json") == len(files["tokenizer.json"]) + 2
    assert hub.sent("model.safetensors") < 500_000
    before = hub.sent("tokenizer.json")
    assert command("plan", path, cwd=tmp_path, env=env).returncode == 3
    assert hub.sent("tokenizer.json") == before
