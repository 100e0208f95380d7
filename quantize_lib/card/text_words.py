"""What a card says of a text beside its source: conversations, and the sources of a mix."""

from __future__ import annotations

import json

from quantize_lib.card.escape import Safe, code
from quantize_lib.job.records import TextPart, TextRecord
from quantize_lib.text import markdown
from quantize_lib.wording import joined


def more_of(text: TextRecord) -> Safe:
    """Sentences that follow those on the text as a whole, each after a space; empty where there are none."""
    sentences = []
    if text.conversations:
        sentences.append(
            f" Documents that the base model's chat template wrote as text: {text.conversations}"
            f"{_arguments(text)}."
        )
    if text.parts:
        sentences.append(f" Its sources: {joined(map(_part, text.parts))}.")
    return Safe("".join(sentences))


def _part(part: TextPart) -> str:
    chats = f", by the chat template{_arguments(part)}" if part.conversations else ""
    return f"{markdown(part.source)} at {code(part.revision)} (sequences: {part.samples}{chats})"


def _arguments(part: TextPart) -> str:
    if not part.chat_template_kwargs:
        return ""
    given = (f"{name}={json.dumps(value)}" for name, value in part.chat_template_kwargs.items())
    return f" with {code(', '.join(given))}"
