"""Where calibration and held-out text may come from."""

from __future__ import annotations

from quantize_lib.calibration.file_kinds import KINDS, PLAIN
from tools.docs.markdown import code, table


def tables() -> dict[str, str]:
    """`texts.sources`: what each source's documents are."""
    streamed = "one for each row of the data set (`column`), streamed: only what is needed is fetched"
    rows = [["`dataset:`", streamed]]
    for kind in KINDS:
        names = ", ".join(code(f"*{suffix}") for suffix in kind.suffixes)
        more = ", and everything else that is text" if kind is PLAIN else ""
        rows.append([f"`files:` {names}{more}", kind.documents])
    return {"texts.sources": table(["Source", "Documents"], [*rows, ["`texts:`", "each"]])}
