"""The supported architectures."""

from __future__ import annotations

from quantize_lib.architecture.family_table import FAMILIES
from tools.docs.markdown import code, table


def tables() -> dict[str, str]:
    """`families`: each `model_type` with the linear layers of its blocks."""
    rows = ((code(name), ", ".join(map(code, family.layers))) for name, family in FAMILIES.items())
    return {"families": table(("`model_type`", "Linear layers of a block"), rows)}
