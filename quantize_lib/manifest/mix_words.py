"""What a source of a mix may say: as a text that is one source, and its weight."""

from __future__ import annotations

from typing import Any

SOURCES = ("dataset", "files", "texts")
"""One of these is what a text comes from, where it is no mix."""
SOURCE_KEYS = (*SOURCES, "config", "split", "column", "revision", "chat_template_kwargs")
"""What is said of one source, and not of the whole text."""


def complete_mix(schema: dict[str, Any]) -> None:
    """Write the keys of a text's source into those of a mix's."""
    definitions = schema["$defs"]
    text = definitions["text"]["properties"]
    own = definitions["mixed_text"]["properties"]
    definitions["mixed_text"]["properties"] = {
        **{key: words for key, words in text.items() if key in SOURCE_KEYS},
        "weight": own["weight"],
    }
