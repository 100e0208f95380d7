"""The codes of errors."""

from __future__ import annotations

from quantize_lib.errors import ErrorCode
from tools.docs.markdown import code, table


def tables() -> dict[str, str]:
    """`codes`: each with what it means."""
    return {"codes": table(("Code", "Meaning"), ((code(one.value), one.meaning) for one in ErrorCode))}
