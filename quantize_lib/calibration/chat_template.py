"""Conversations as text, by the chat template of a loaded tokenizer.

A template is a program of the model's author. transformers runs it in Jinja's sandbox, and that is done where
the tokenizer is loaded: in the process that tries it or quantizes, never on the host beside a token.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Any, Protocol

from quantize_lib.calibration.conversations import Conversation, Document
from quantize_lib.errors import CalibrationError
from quantize_lib.text import plain

_SHOWN_REASON = 300
_DAY = datetime(2024, 7, 26)
"""What templates are told that it is today, so that the same text is the same tokens tomorrow: the day that
Llama's take where they are told none."""
_RENDERING = "transformers.utils.chat_template_utils"
"""The module whose `datetime` tells templates the day (`strftime_now`); it takes no other function for it."""


class ChatTokenizer(Protocol):
    """What is used of a transformers tokenizer for conversations."""

    chat_template: Any
    """Jinja, or several by name; None where the tokenizer has none."""

    def apply_chat_template(
        self, conversation: list[dict[str, Any]], *, tokenize: bool, **kwargs: Any
    ) -> object:
        """The conversation as text."""


def as_texts(documents: Sequence[Document], tokenizer: Any, kwargs: Mapping[str, Any]) -> list[str]:
    """Every document as text, conversations by the tokenizer's chat template.

    Args:
        tokenizer: a `ChatTokenizer`, where there are conversations.
        kwargs: variables for the template, such as `enable_thinking`.

    Raises:
        CalibrationError: where the tokenizer has no template, or it fails, naming the row.
    """
    return [one if isinstance(one, str) else render(one, tokenizer, kwargs) for one in documents]


def has_template(tokenizer: Any) -> bool:
    """Whether a tokenizer can write conversations as text."""
    return bool(getattr(tokenizer, "chat_template", None))


def no_template(conversation: Conversation) -> CalibrationError:
    """The error for a conversation that a tokenizer has no template for."""
    return CalibrationError(
        f"{conversation.place} is a conversation, and the base model's tokenizer has no chat template to "
        "write it as text with",
        hint="Name a column of texts, or take the instruct version of the model. A template of your own "
        "goes into a local copy of the model, as chat_template.jinja.",
    )


def render(conversation: Conversation, tokenizer: ChatTokenizer, kwargs: Mapping[str, Any]) -> str:
    """A conversation as text.

    Raises:
        CalibrationError: as `as_texts`.
    """
    if not has_template(tokenizer):
        raise no_template(conversation)
    try:
        with _on_one_day():
            text = tokenizer.apply_chat_template(
                [dict(message) for message in conversation.messages], tokenize=False, **kwargs
            )
    except Exception as error:
        # A template raises what it likes: for roles that do not alternate, or for what a message lacks.
        said = plain(str(error)) or type(error).__name__
        raise CalibrationError(
            f"{conversation.place}: the chat template fails on this conversation ({said[:_SHOWN_REASON]})",
            hint="Leave the row out, bring its messages into the form that the template takes, or give the "
            "template what it asks for under `chat_template_kwargs`.",
        ) from error
    if not isinstance(text, str):
        raise CalibrationError(f"{conversation.place}: the chat template gives no text")
    return text


class _OneDay(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return _DAY.replace(tzinfo=tz)


@contextmanager
def _on_one_day() -> Iterator[None]:
    """Let it be `_DAY` where templates are rendered, if transformers does it."""
    module = sys.modules.get(_RENDERING)
    if module is None:
        yield
        return
    real, module.datetime = module.datetime, _OneDay  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.datetime = real  # type: ignore[attr-defined]
