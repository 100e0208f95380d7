"""The types of models, with what a tiny model of each came to, and those that GGUF files are made of."""

from __future__ import annotations

from quantize_lib.architecture.outcomes import outcomes
from quantize_lib.gguf_file.families import FAMILIES
from tools.docs.markdown import code, table


def tables() -> dict[str, str]:
    """The parts by name.

    `families`: each type with the format in which each method stores it, or why not; `gguf.families`: each
    type that GGUF files are made of, with who loads them.
    """
    found = list(outcomes())
    rows = ([code(one.name), *one.formats.values(), one.why] for one in found)
    files = (
        (
            f"{code(one.name)} {one.where}".strip(),
            one.such_as,
            f"llama.cpp{', transformers' if one.in_transformers else ''}",
        )
        for one in FAMILIES.values()
    )
    return {
        "families": table(("Type", *found[0].formats, "What is refused, and why"), rows),
        "gguf.families": table(("Model type", "Such as", "Loaded by"), files),
    }
