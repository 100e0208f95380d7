"""The summary that GitHub shows on the page of a workflow run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quantize_lib.reporting import Reporter

MAX_BYTES = 1024 * 1024
"""GitHub drops the whole summary of a step that is larger."""
_CUT = "\n\n*The rest is left out: a step summary holds at most 1 MiB. report.json has everything.*\n"


def append_summary(markdown: str, environ: Mapping[str, str], reporter: Reporter) -> None:
    """Append Markdown to the step's summary; outside a workflow nothing happens.

    Call it for a failed run, too. Foreign words in `markdown` must be escaped already. A file that cannot be
    written is a warning, no reason to lose the run.

    Args:
        markdown: a whole block.
        environ: GITHUB_STEP_SUMMARY names the file.
        reporter: gets the warning.
    """
    if not (name := environ.get("GITHUB_STEP_SUMMARY")):
        return
    path = Path(name)
    try:
        room = MAX_BYTES - (path.stat().st_size if path.exists() else 0)
        with path.open("ab") as file:
            file.write(_fit(markdown.rstrip("\n") + "\n", room))
    except OSError as error:
        reporter.warning(f"the step summary cannot be written: {error}")


def _fit(markdown: str, room: int) -> bytes:
    content = markdown.encode()
    if len(content) <= room:
        return content
    keep = room - len(_CUT.encode())
    if keep < 0:
        return b""
    # Whole lines only: half a table row would garble what follows.
    return content[: content.rfind(b"\n", 0, keep) + 1] + _CUT.encode()
