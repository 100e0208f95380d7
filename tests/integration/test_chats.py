"""Conversations calibrate and evaluate through a chat template that transformers runs, or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from quantize_lib.calibration.chat_template import render
from quantize_lib.calibration.conversations import Conversation
from tests.support.small_runs import command, manifest, report, save_tiny_model

TEMPLATE = """{{ bos_token }}{% for message in messages %}{% if loop.first and message.role != 'user' %}
{{ raise_exception('The user has to begin') }}{% endif %}
<|{{ message.role }}|>{{ message.content }}
{% endfor %}{% if not enable_thinking %}(no thinking){% endif %}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model with a chat template, and conversations in both forms; read only."""
    folder = tmp_path_factory.mktemp("chats")
    save_tiny_model(folder / "tiny", calibration_text)
    (folder / "tiny" / "chat_template.jinja").write_text(TEMPLATE)
    texts = [json.loads(line)["text"] for line in calibration_text.read_text().splitlines()[:80]]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    chats = [
        {"messages": [{"role": "user", "content": one}, {"role": "assistant", "content": other}]}
        for one, other in pairs
    ]
    shared = [
        {"conversations": [{"from": "human", "value": one}, {"from": "gpt", "value": other}]}
        for one, other in pairs
    ]
    for name, rows in (("chats", chats), ("shared", shared)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def chat_manifest(folder: Path, place: Path, **calibration: object) -> Path:
    held_out = {"files": [str(folder / "shared.jsonl")], "column": "conversations", "samples": 2}
    path = manifest(
        place,
        folder / "tiny",
        folder / "chats.jsonl",
        [{"method": "gptq", "bits": 4, "format": "compressed-tensors"}],
        evaluate={"perplexity": {**held_out, "sequence_length": 64}},
    )
    document = yaml.safe_load(path.read_text())
    amount = {"samples": 4, "sequence_length": 64}
    document["defaults"]["calibration"] = {**amount, **calibration}
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_mix_with_conversations_calibrates_and_evaluates(folder: Path, tmp_path: Path) -> None:
    chats = {
        "files": [str(folder / "chats.jsonl")],
        "column": "messages",
        "chat_template_kwargs": {"enable_thinking": True},
    }
    chat_manifest(folder, tmp_path, mix=[{**chats, "weight": 3}, {"texts": ["Plain words. " * 99]}])
    done = command("run", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (cell,) = report(tmp_path / "output").values()
    used, measured = cell["calibration"], cell["evaluation"]
    assert [(part["samples"], part.get("conversations", 0) > 0) for part in used["parts"]] == [
        (3, True),
        (1, False),
    ]
    assert used["parts"][0]["chat_template_kwargs"] == {"enable_thinking": True}
    assert (measured["samples"], measured["conversations"] > 0) == (2, True)
    assert cell["perplexity_after"] > 1
    # Those of the tool are measured beside them, though nobody asked.
    own = cell["texts"]["conversations"]
    assert own["evaluation"]["source"] == "conversations of Model Quantizer"
    assert (own["evaluation"]["samples"], own["evaluation"]["sequence_length"]) == (1, 64)
    assert own["figures"]["perplexity"]["after"] > 1
    card = (tmp_path / "output" / cell["id"] / "README.md").read_text()
    assert "Documents that the base model's chat template wrote as text: " in card
    assert "<code>enable&#95;thinking=true</code>" in card
    assert "conversations of Model Quantizer" in card

    again = command("run", "quantize.yml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Quantizing" not in again.stdout + again.stderr
    (kept,) = report(tmp_path / "output").values()
    assert kept["texts"] == cell["texts"]


def test_a_template_that_asks_for_the_day_is_told_the_same_one_tomorrow(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tiny")
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}"
    messages = [{"role": "user", "content": "Hi"}]
    conversation = Conversation(messages=tuple(messages), place="")
    assert render(conversation, tokenizer, {}) == "26 Jul 2024: Hi"
    # Whoever talks to a model has today's.
    assert tokenizer.apply_chat_template(messages, tokenize=False) != "26 Jul 2024: Hi"


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_plan_refuses_a_conversation_that_cannot_be_written_as_text(
    folder: Path, tmp_path: Path, template: str | None
) -> None:
    for path in (folder / "tiny").iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / "tiny").mkdir(exist_ok=True)
            (tmp_path / "tiny" / path.name).write_bytes(path.read_bytes())
    if template is not None:
        (tmp_path / "tiny" / "chat_template.jinja").write_text(template)
    rows = (folder / "chats.jsonl").read_text().splitlines()[0]
    (tmp_path / "chats.jsonl").write_text(
        f'{rows}\n{{"messages": [{{"role": "assistant", "content": "Yes?"}}]}}\n'
    )
    path = chat_manifest(folder, tmp_path, files=["chats.jsonl"], column="messages")
    document = yaml.safe_load(path.read_text())
    document["models"][0]["id"] = "./tiny"
    path.write_text(yaml.safe_dump(document))
    done = command("plan", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    if template is None:
        assert (
            "chats.jsonl:1: column 'messages' is a conversation, and the base model's tokenizer has no"
            in (done.stderr)
        )
    else:
        assert (
            "chats.jsonl:2: column 'messages': the chat template fails on this conversation (The user has"
            in (done.stderr)
        )
