"""Conversations in rows, and what they are as text and as tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quantize_lib.calibration.conversations import (
    Conversation,
    Document,
    documents_from_json,
    documents_to_json,
    mended,
)
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import Texts, collect_texts
from quantize_lib.calibration.windows import cut_windows
from quantize_lib.errors import CalibrationError
from tests.support.byte_tokenizer import EOS, ByteTokenizer
from tests.support.chat_tokenizer import CHAT, ChatTokenizer

SHARED = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


class FrontTokenizer(ChatTokenizer):
    """One whose token in front of a text is the one that its template writes."""

    def __init__(self) -> None:
        super().__init__(eos=False)
        self._front = [ord("<")]


def collect(path: Path, column: str = "messages", **more: Any) -> Texts:
    return collect_texts(TextSpec(files=(path,), column=column, **more), token=None)


def messages(texts: Texts) -> list[Any]:
    return [one.messages if isinstance(one, Conversation) else one for one in texts.texts]


def error_of(rows: str, folder: Path, column: str = "messages") -> CalibrationError:
    (folder / "c.jsonl").write_text(rows, encoding="utf-8")
    with pytest.raises(CalibrationError) as caught:
        collect(folder / "c.jsonl", column)
    return caught.value


def cut(*documents: str | Conversation, length: int = 4, **kwargs: Any) -> list[list[int]]:
    tokenizer = ChatTokenizer()
    return cut_windows(
        documents,
        tokenizer,
        samples=100,
        sequence_length=length,
        seed=0,
        allow_short=True,
        chat_template_kwargs=kwargs,
    ).ids


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.jsonl", json.dumps({"id": 7, "messages": CHAT})),
        ("c.jsonl", "\n".join([json.dumps({"messages": CHAT})] * 2)),
        ("c.jsonl", json.dumps({"messages": SHARED})),
        ("c.json", json.dumps([{"messages": CHAT}, {"messages": None}, {"messages": []}])),
        ("c.json", json.dumps({"messages": [CHAT, SHARED]})),
        ("c.json", json.dumps([CHAT, SHARED])),
        ("c.yaml", "- messages:\n  - {role: user, content: Hi}\n  - {from: bot, value: Hello}\n"),
    ],
)
def test_both_forms_are_read_from_every_file_of_rows(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert set(map(str, messages(collect(tmp_path / name)))) == {str(CHAT)}


def test_keys_that_parquet_fills_with_null_are_left_out(tmp_path: Path) -> None:
    rows = [{"messages": [*CHAT, {"role": "tool", "content": "42", "tool_call_id": "a"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    assert messages(collect(tmp_path / "c.parquet")) == [tuple(rows[0]["messages"])]


def test_parts_of_text_are_joined_and_a_call_of_a_tool_needs_no_content(tmp_path: Path) -> None:
    said = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}], "weight": 1}
    (tmp_path / "c.jsonl").write_text(json.dumps({"messages": [said, call]}))
    assert messages(collect(tmp_path / "c.jsonl")) == [
        (
            {"role": "user", "content": "ab"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]},
        )
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"role": "user"}], "message 1 has no content"),
        ([*CHAT, 3], "message 3 is int, not a message"),
        ([{"role": "user", "content": 3}], "message 1 has content of int, not text"),
        ([{"role": 3, "content": "a"}], "message 1: its role is `3`, not a word"),
        ([{"content": "a"}], "message 1 has no `role` and no `from`: it has 'content'"),
        (
            [{"from": "narrator", "value": "a"}],
            "message 1: `from` is `narrator`, and no role is known by that word",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            "message 1 has a part of type `image_url`, and only text is read",
        ),
    ],
)
def test_a_row_of_a_wrong_shape_is_named_by_line_column_and_message(
    value: list[Any], message: str, tmp_path: Path
) -> None:
    error = error_of(json.dumps({"messages": CHAT}) + "\n" + json.dumps({"messages": value}), tmp_path)
    assert error.message == f"{tmp_path / 'c.jsonl'}:2: column 'messages': {message}"
    assert error.hint


def test_a_list_of_something_else_is_no_conversation(tmp_path: Path) -> None:
    error = error_of('{"messages": [1, 2]}\n{"messages": [3]}', tmp_path)
    assert error.message.endswith(":1: column 'messages' holds list, not text")
    assert error.hint == "Name a column of texts, or of conversations, with `column:`."


def test_the_digest_of_plain_text_is_as_ever_and_that_of_conversations_follows_their_messages(
    tmp_path: Path,
) -> None:
    assert collect_texts(TextSpec(texts=("ab", "c")), token=None).revision == (
        "sha256:499cdd84814fbc4f27d17a784e6178bd5df240973fa9deed169b41f7c5156e38"
    )
    first, second, third = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    first.write_text(json.dumps({"messages": CHAT}))
    second.write_text("\n" + json.dumps({"messages": SHARED}))
    third.write_text(json.dumps({"messages": CHAT[:1]}))
    assert collect(first).revision == collect(second).revision != collect(third).revision


def test_reading_ends_where_conversations_have_enough_characters(tmp_path: Path) -> None:
    row = json.dumps({"messages": [{"role": "user", "content": "x" * 100}]})
    (tmp_path / "c.jsonl").write_text("\n".join([row] * 10))
    assert len(collect(tmp_path / "c.jsonl", samples=1, sequence_length=20).texts) == 3


def test_halves_of_surrogate_pairs_are_mended_inside_messages(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"messages": [{"role": "user", "content": "a \\ud83d"}]}')
    texts = collect(tmp_path / "c.jsonl")
    assert messages(texts) == [({"role": "user", "content": "a \ufffd"},)]
    assert len(texts.notes) == 1
    assert mended(texts.texts[0]) == (texts.texts[0], 0)


def test_arguments_for_a_template_without_conversations_are_told() -> None:
    spec = TextSpec(texts=("plain",), chat_template_kwargs=(("enable_thinking", False),))
    assert collect_texts(spec, token=None).notes == (
        "1 text holds no conversations, so `chat_template_kwargs` changes nothing",
    )


def test_documents_travel_as_json() -> None:
    documents: list[Document] = ["text", Conversation(messages=CHAT, place="c.jsonl:2")]
    assert documents_from_json(json.loads(json.dumps(documents_to_json(documents))), "f") == documents
    by_hand = documents_from_json([{"messages": SHARED}], "texts.json")
    assert by_hand == [Conversation(messages=CHAT, place="texts.json: item 1")]
    with pytest.raises(CalibrationError, match="item 1 is no text and no object with `messages`"):
        documents_from_json([{"message": []}], "texts.json")


def test_a_conversation_ends_as_its_template_ends_it() -> None:
    chat = Conversation(messages=CHAT, place="")
    (window,) = cut(chat, "ab", length=100)
    assert bytes(window[:-1]) == b"<u:Hi;a:Hello;ab"
    assert window[-1] == EOS


def test_arguments_reach_the_template() -> None:
    (window,) = cut(Conversation(messages=CHAT, place=""), length=100, mood="calm")
    assert bytes(window).endswith(b";calm")


def test_what_template_and_tokenizer_both_put_in_front_stands_there_once() -> None:
    chat = Conversation(messages=CHAT, place="")
    found = cut_windows(
        [chat, chat], FrontTokenizer(), samples=9, sequence_length=14, seed=0, allow_short=False
    ).ids
    assert [bytes(window) for window in found] == [b"<u:Hi;a:Hello;"] * 2


def test_without_a_chat_template_the_conversation_is_named() -> None:
    with pytest.raises(CalibrationError) as caught:
        cut_windows(
            [Conversation(messages=CHAT, place="c.jsonl:2: column 'messages'")],
            ByteTokenizer(),
            samples=1,
            sequence_length=4,
            seed=0,
            allow_short=False,
        )
    assert caught.value.message == (
        "c.jsonl:2: column 'messages' is a conversation, and the base model's tokenizer has no chat template "
        "to write it as text with"
    )


def test_a_template_that_fails_is_told_with_its_row_and_its_reason() -> None:
    with pytest.raises(CalibrationError) as caught:
        cut(Conversation(messages=CHAT[1:], place="c.jsonl:5: column 'messages'"))
    assert caught.value.message == (
        "c.jsonl:5: column 'messages': the chat template fails on this conversation "
        "(Conversations begin with the user)"
    )
