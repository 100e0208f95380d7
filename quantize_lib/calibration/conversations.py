"""Conversations in rows: lists of messages, as chat models are trained on them.

Two forms are read: `{role, content}`, as the APIs have it, and ShareGPT's `{from, value}`. The base model's
chat template says what a conversation is as text, where its tokenizer is loaded (`chat_template`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from quantize_lib.errors import CalibrationError
from quantize_lib.text import mend
from quantize_lib.wording import joined, show

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "model", "bot"), "assistant"),
    "system": "system",
    **dict.fromkeys(("tool", "observation"), "tool"),
}
"""ShareGPT's words for who speaks, as chat templates call them."""
_FURTHER = ("name", "reasoning_content", "thinking", "tool_calls", "tool_call_id")
"""What templates read of a message beside its role and content; other keys are the data set's own."""
_MOST_DEPTH = 32
_FORMS = (
    "A conversation is a list of messages, each with `role` and `content` (a text, or a list of "
    "`{type: text, text: …}`), or each with ShareGPT's `from` and `value`."
)


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A conversation that is still to be written as text.

    Attributes:
        messages: plain data, each with `role` and `content`, both texts, and perhaps more of what templates
            read.
        place: where it was read, for messages.
    """

    messages: tuple[Mapping[str, Any], ...]
    place: str

    def __len__(self) -> int:
        """How many characters its messages have."""
        return sum(len(message["content"]) for message in self.messages)


Document = str | Conversation
"""What rows hold: a text, or a conversation."""


def is_conversation(value: object) -> TypeGuard[list[object]]:
    """Whether a value is a list of messages, going by the first."""
    if not isinstance(value, list) or not value or not isinstance(value[0], Mapping):
        return False
    return "role" in value[0] or "from" in value[0]


def read_conversation(value: Sequence[object], place: str) -> Conversation:
    """The conversation that a list of messages is.

    Args:
        value: the messages, at least one, in either form.
        place: for messages, as in `chats.jsonl:3: column 'messages'`.

    Raises:
        CalibrationError: where one is no message, naming which.
    """
    return Conversation(
        messages=tuple(
            _message(item, f"{place}: message {number}") for number, item in enumerate(value, start=1)
        ),
        place=place,
    )


def mended(document: Document) -> tuple[Document, int]:
    """A document that every encoding takes, and how many halves of surrogate pairs were alone in it."""
    if isinstance(document, str):
        return mend(document)
    messages, alone = _mended(list(document.messages))
    return replace(document, messages=tuple(messages)), alone


def documents_to_json(documents: Sequence[Document]) -> list[Any]:
    """Documents as plain data: a text is itself, a conversation an object of `messages` and `place`."""
    return [
        one if isinstance(one, str) else {"messages": list(one.messages), "place": one.place}
        for one in documents
    ]


def documents_from_json(data: object, place: str) -> list[Document]:
    """The documents that `documents_to_json` gave, or that were written by hand.

    Args:
        place: of the file, for messages, and for conversations that say none.

    Raises:
        CalibrationError: where it is no list of texts and conversations.
    """
    documents: list[Document] = []
    for number, one in enumerate(data if isinstance(data, list) else [data], start=1):
        messages = one.get("messages") if isinstance(one, Mapping) else None
        if isinstance(one, str):
            documents.append(one)
        elif isinstance(one, Mapping) and isinstance(messages, list) and messages:
            documents.append(read_conversation(messages, str(one.get("place", f"{place}: item {number}"))))
        else:
            raise CalibrationError(
                f"{place}: item {number} is no text and no object with `messages`", hint=_FORMS
            )
    return documents


def _message(item: object, place: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise CalibrationError(f"{place} is {type(item).__name__}, not a message", hint=_FORMS)
    if item.get("role") is not None:
        speaker, content = item["role"], item.get("content")
    elif item.get("from") is not None:
        speaker, content = item["from"], item.get("value")
        if isinstance(speaker, str) and speaker not in _ROLES:
            raise CalibrationError(
                f"{place}: `from` is {show(speaker)}, and no role is known by that word",
                hint=f"Known are {joined(_ROLES)}. Write the row with `role` and `content` instead.",
            )
        speaker = _ROLES.get(speaker, "") if isinstance(speaker, str) else speaker
    else:
        found = joined(f"{key!r:.60}" for key in item) or "nothing"
        raise CalibrationError(f"{place} has no `role` and no `from`: it has {found}", hint=_FORMS)
    if not isinstance(speaker, str) or not speaker.strip():
        raise CalibrationError(f"{place}: its role is {show(str(speaker))}, not a word", hint=_FORMS)
    further = {key: _plain(item[key], place) for key in _FURTHER if item.get(key) is not None}
    # What an assistant says beside a call of a tool may be nothing.
    empty = content is None and "tool_calls" in further
    return {"role": speaker, "content": "" if empty else _text(content, place), **further}


def _text(content: object, place: str) -> str:
    """A message's text, also where it is a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        what = "no content" if content is None else f"content of {type(content).__name__}, not text"
        raise CalibrationError(f"{place} has {what}", hint=_FORMS)
    texts: list[str] = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise CalibrationError(
                f"{place} has a part of type {show(str(kind))}, and only text is read",
                hint="Leave out rows with pictures, sound or other parts. " + _FORMS,
            )
        texts.append(text)
    return "".join(texts)


def _plain(value: Any, place: str, depth: int = 0) -> Any:
    """Plain data without what is null, which Parquet writes for each key that another row has."""
    if depth > _MOST_DEPTH:
        raise CalibrationError(f"{place} holds values inside values, {depth} deep", hint=_FORMS)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, place, depth + 1) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item, place, depth + 1) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise CalibrationError(f"{place} holds {type(value).__name__}, which no template reads", hint=_FORMS)


def _mended(value: Any) -> tuple[Any, int]:
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, list):
        pairs = [_mended(item) for item in value]
        return [item for item, _ in pairs], sum(alone for _, alone in pairs)
    if isinstance(value, Mapping):
        found = {key: _mended(item) for key, item in value.items()}
        return {key: item for key, (item, _) in found.items()}, sum(alone for _, alone in found.values())
    return value, 0
