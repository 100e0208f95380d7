"""What is asked of the process that tries a tokenizer, what it answers, and when it is asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.files import write_text
from quantize_lib.tokenizer import ask as module
from quantize_lib.tokenizer.ask import ask
from quantize_lib.tokenizer.examine import Room
from quantize_lib.tokenizer.question import Answer, AskedText, Question

ROOM = Room(rows=8, positions=None, prompt="The", new_tokens=20)
TEXT = AskedText(texts=("ab", "\ud800"), samples=1, sequence_length=2, seed=0, allow_short=False)
QUESTION = Question(folder=Path("/models/one"), room=ROOM, texts=(TEXT,))
DIGESTS = {"tokenizer.json": "a" * 64}
ANSWER = Answer(notes=("a note",), texts=(CalibrationError("too short", hint="Give more."),))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Question]:
    """The questions that a process was started for, with an empty cache."""
    questions: list[Question] = []

    def answer(question: Question) -> Answer:
        questions.append(question)
        return ANSWER

    monkeypatch.setattr(module, "_tried", answer)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return questions


def said(answer: Answer) -> object:
    return answer.to_json()


def test_a_question_travels_as_json_whatever_its_texts_hold() -> None:
    assert Question.from_json(json.loads(json.dumps(QUESTION.to_json()))) == Question(
        folder=QUESTION.folder, room=ROOM, texts=(TEXT,)
    )


@pytest.mark.parametrize("answer", [ANSWER, Answer(error=SourceError("no tokenizer"))])
def test_an_answer_travels_as_json_with_its_errors(answer: Answer) -> None:
    again = Answer.from_json(json.loads(json.dumps(answer.to_json())), texts=1)
    assert said(again) == said(answer)
    assert type(again.error) is type(answer.error)


def test_the_same_tokenizer_and_texts_are_tried_once_wherever_they_lie(tried: list[Question]) -> None:
    first = ask(QUESTION, DIGESTS)
    elsewhere = Question(folder=Path("/models/two"), room=ROOM, texts=(TEXT,))
    assert said(ask(elsewhere, DIGESTS)) == said(first)
    assert tried == [QUESTION]


def test_a_tokenizer_that_did_not_load_is_tried_again(
    tried: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Answer(error=SourceError("a library is missing"))
    with monkeypatch.context() as before:
        before.setattr(module, "_tried", lambda _: missing)
        assert said(ask(QUESTION, DIGESTS)) == said(missing)
    assert said(ask(QUESTION, DIGESTS)) == said(ANSWER)
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("question", "digests"),
    [
        (QUESTION, {"tokenizer.json": "b" * 64}),
        (QUESTION, {**DIGESTS, "added_tokens.json": "b" * 64}),
        (Question(folder=QUESTION.folder, room=ROOM, texts=()), DIGESTS),
        (
            Question(
                folder=QUESTION.folder,
                room=Room(rows=7, positions=None, prompt="The", new_tokens=20),
                texts=(TEXT,),
            ),
            DIGESTS,
        ),
    ],
    ids=["another file", "one file more", "other texts", "another model"],
)
def test_what_changed_is_tried_again(
    question: Question, digests: dict[str, str], tried: list[Question]
) -> None:
    ask(QUESTION, DIGESTS)
    ask(question, digests)
    assert tried == [QUESTION, question]


def test_another_version_of_a_library_is_another_answer(
    tried: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(QUESTION, DIGESTS)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "999")
    ask(QUESTION, DIGESTS)
    assert len(tried) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"error": null, "notes": [1], "texts": []}', "\0"])
def test_a_damaged_cache_is_not_used(text: str, tried: list[Question], tmp_path: Path) -> None:
    ask(QUESTION, DIGESTS)
    (file,) = (tmp_path / "cache" / "model-quantizer" / "tokenizers").iterdir()
    write_text(file, text)
    assert said(ask(QUESTION, DIGESTS)) == said(ANSWER)
    assert len(tried) == 2
    ask(QUESTION, DIGESTS)
    assert len(tried) == 2


def test_a_cache_that_cannot_be_written_is_not_used(tried: list[Question], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    for _ in range(2):
        assert said(ask(QUESTION, DIGESTS)) == said(ANSWER)
    assert len(tried) == 2


@pytest.mark.parametrize("place", ["", "relative"])
def test_a_cache_is_never_put_in_the_current_folder(
    place: str, tried: list[Question], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    ask(QUESTION, DIGESTS)
    assert len(tried) == 1
    assert not list(tmp_path.iterdir())
