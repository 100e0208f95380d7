"""The prompts of a benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantize_lib.benchmark.prompts import read_prompts
from quantize_lib.errors import ExitCode, UsageError


def read(path: Path | None, *, count: int | None = None, needed: int = 24, seed: int = 0) -> tuple[str, ...]:
    return read_prompts(path, count=count, needed=needed, seed=seed, note=lambda _text: None).texts


def test_prompts_come_with_the_package() -> None:
    assert len(read(None)) == 8
    assert all(len(text) > 200 for text in read(None))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prompts.txt", "one\n\n  \ntwo, with a comma\nthree\n"),
        ("prompts", "one\r\ntwo, with a comma\r\nthree"),
        ("prompts.json", json.dumps(["one", "two, with a comma", "three"])),
        # As the older tool's users have them.
        (
            "prompts.json",
            json.dumps(
                [
                    {"name": word, "category": "short", "text": word}
                    for word in ("one", "two, with a comma", "three")
                ]
            ),
        ),
        ("prompts.jsonl", '{"text": "one"}\n"two, with a comma"\n{"text": "three"}\n'),
        ("prompts.csv", 'text\none\n"two, with a comma"\nthree\n'),
    ],
)
def test_a_file_of_prompts_is_read_whatever_form_it_has(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    assert sorted(read(path)) == ["one", "three", "two, with a comma"]


def test_a_prompt_of_a_row_keeps_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"text": "one\\ntwo"}\n')
    assert read(path) == ("one\ntwo",)


def test_the_seed_says_which_prompts_are_drawn_and_in_which_order() -> None:
    assert read(None, count=3, seed=1) == read(None, count=3, seed=1)
    assert len({read(None, count=3, seed=seed) for seed in range(5)}) > 1
    assert sorted(read(None, seed=1)) == sorted(read(None, seed=2))


def test_no_more_prompts_are_drawn_than_are_needed_unless_more_are_asked_for() -> None:
    assert len(read(None, needed=3)) == 3
    assert len(read(None, needed=3, count=5)) == 5


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("prompts.txt", "", "there is no prompt in"),
        ("prompts.txt", " \n\n", "there is no prompt in"),
        ("prompts.json", "[]", "there is no prompt in"),
        ("prompts.json", '[{"prompt": "x"}]', "has no column 'text'"),
        ("prompts.json", "[1, 2", "prompts.json"),
        ("prompts.txt", "%PDF-1.7", "is a PDF document"),
    ],
)
def test_a_file_without_prompts_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert caught.value.message.startswith("--prompts: ")
    assert message in caught.value.message
    assert "one prompt a line" in (caught.value.hint or "")
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read(tmp_path / "none.txt")


def test_more_prompts_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(UsageError, match="--num-prompts is 9, and there are 8 prompts"):
        read(None, count=9)
