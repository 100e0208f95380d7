"""A byte tokenizer with the simplest of chat templates."""

from __future__ import annotations

from typing import Any

from tests.support.byte_tokenizer import ByteTokenizer

CHAT = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
"""A conversation that the template takes: the user begins."""


class ChatTokenizer(ByteTokenizer):
    """UTF-8 bytes, with `<` in front of a conversation and `u:` or `a:` in front of a message."""

    chat_template = "a template"

    def apply_chat_template(
        self, conversation: list[dict[str, Any]], *, tokenize: bool, mood: str = ""
    ) -> str:
        """As transformers' tokenizers are called; `mood` stands at the end."""
        assert tokenize is False
        if conversation[0]["role"] != "user":
            raise ValueError("Conversations begin with\nthe user")
        return "<" + "".join(f"{one['role'][0]}:{one['content']};" for one in conversation) + mood
