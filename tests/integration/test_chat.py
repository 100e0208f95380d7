"""`chat`: the real command through a pipe, and a real model's conversation."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from quantize_lib.chat.conversation import Conversation, TooLongError
from quantize_lib.errors import ExitCode
from quantize_lib.evaluate.opening import FaultyCheckpointError
from quantize_lib.files import read_json, write_json
from tests.support.small_runs import ROOT, command, environment, save_tiny_model

TEMPLATE = "{% for one in messages %}[{{ one.role }}] {{ one.content }}\n{% endfor %}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("chat") / "tiny", calibration_text)


class Stream(io.StringIO):
    """Where an answer goes; a person stops it after some words."""

    def __init__(self, patience: int | None = None) -> None:
        super().__init__()
        self._patience = patience

    def write(self, text: str) -> int:
        if self._patience is not None:
            self._patience -= 1
            if self._patience == 0:
                raise KeyboardInterrupt
        return super().write(text)


def conversation(folder: Path, **settings: Any) -> Conversation:
    tokenizer = settings.pop("tokenizer", None) or AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = settings.pop("template", None)
    given = {
        "system": None,
        "max_new_tokens": 12,
        "temperature": 0.0,
        "seed": 0,
        "positions": None,
        **settings,
    }
    return Conversation(AutoModelForCausalLM.from_pretrained(folder), tokenizer, **given)


def said(talk: Conversation) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in talk.said]


def answer(talk: Conversation, text: str) -> str:
    stream = Stream()
    talk.answer(text, stream)
    return stream.getvalue()


def talk_to(folder: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "entrypoint.py"), "chat", str(folder), *words],
        cwd=folder.parent,
        env=environment(),
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command_answers_what_is_piped_in_and_forgets_on_request(tiny: Path) -> None:
    typed = "Once upon a time\n\n/none\n/reset\nOnce upon a time\n/quit\nnever said\n"
    done = talk_to(tiny, typed, "--temperature", "0", "--max-new-tokens", "12")
    assert done.returncode == ExitCode.OK, done.stderr
    first, second = done.stdout.splitlines()
    assert first == second != ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("tiny, loaded in ")
    assert lines[1:] == [
        "It has no chat template: what you write is continued as it stands.",
        "There is no /none. /reset forgets what was said, /quit or Ctrl-D leaves, Ctrl-C stops an answer.",
        "Forgotten.",
    ]


def test_what_cannot_be_talked_to_is_said(tiny: Path) -> None:
    damaged = tiny.parent / "damaged"
    write_json(damaged / "config.json", read_json(tiny / "config.json"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (damaged / name).write_bytes((tiny / name).read_bytes())
    done = talk_to(damaged, "Hello\n")
    assert done.returncode == ExitCode.CELL_FAILED
    assert done.stdout == ""
    assert done.stderr.startswith("error: damaged: it cannot be loaded (")
    done = command("chat", "nowhere", cwd=tiny.parent)
    assert done.returncode == ExitCode.USAGE
    assert "nowhere is no checkpoint: it has no config.json" in done.stderr


def test_a_chat_template_gets_the_system_prompt_and_everything_that_was_said(tiny: Path) -> None:
    talk = conversation(tiny, template=TEMPLATE, system="Be brief.")
    first = answer(talk, "Hello").rstrip("\n")
    answer(talk, "Again")
    assert talk.has_template
    given = str(AutoTokenizer.from_pretrained(tiny).decode(talk.ids_of(talk.said)[0]))
    assert given.startswith(f"[system] Be brief.\n[user] Hello\n[assistant] {first}")
    assert [role for role, _ in said(talk)] == ["user", "assistant"] * 2


def test_a_template_without_a_system_prompt_is_named(tiny: Path) -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x"
    with pytest.raises(FaultyCheckpointError, match="its chat template does not take a system prompt"):
        conversation(tiny, template=refuses, system="Be brief.")
    with pytest.raises(FaultyCheckpointError, match="its chat template fails"):
        conversation(tiny, template="{{ raise_exception('never') }}")


def test_an_answer_that_is_stopped_stays_said_as_far_as_it_came(tiny: Path) -> None:
    talk = conversation(tiny, max_new_tokens=60)
    whole = answer(talk, "Once upon a time")
    talk.reset()
    stream = Stream(patience=3)
    talk.answer("Once upon a time", stream)
    ((_, question), (_, stopped)) = said(talk)
    assert question == "Once upon a time"
    assert whole.startswith(stopped[:5])
    assert 0 < len(stopped) < len(whole)


def test_the_same_seed_draws_the_same_answer(tiny: Path) -> None:
    talk = conversation(tiny, temperature=1.0, seed=5)
    first = answer(talk, "Once upon a time")
    assert answer(talk, "Once upon a time") != first
    talk.reset()
    assert answer(talk, "Once upon a time") == first


def test_the_oldest_is_forgotten_where_all_no_longer_fits(tiny: Path) -> None:
    talk = conversation(tiny, positions=48)
    stream = Stream()
    forgotten = [talk.answer("Once upon a time there was a king", stream) for _ in range(4)]
    assert forgotten[0] == 0
    assert sum(forgotten) > 0
    with pytest.raises(TooLongError, match="the model has room for 36"):
        talk.answer("king " * 100, stream)
    assert ("user", "king " * 100) not in said(talk)


def test_what_a_model_writes_does_not_steer_the_terminal(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    monkeypatch.setattr(tokenizer, "decode", lambda *_arguments, **_options: "red \x1b[31m\u202e")
    assert answer(conversation(tiny, tokenizer=tokenizer), "Hello") == "red [31m\n"
