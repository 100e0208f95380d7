"""What a person sees: one `Reporter` for terminals, one for plain logs, one for GitHub workflows."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TextIO

from quantize_lib.cli.console.github import GithubReporter
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.cli.console.summary import append_summary
from quantize_lib.reporting import Reporter

__all__ = ["append_summary", "make_reporter"]


def make_reporter(stream: TextIO, environ: Mapping[str, str]) -> Reporter:
    """The reporter that fits where the output goes.

    Args:
        stream: where it goes. A character that its encoding lacks is replaced, never an error.
        environ: GITHUB_ACTIONS, TERM and NO_COLOR are looked at.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    if environ.get("GITHUB_ACTIONS") == "true":
        return GithubReporter(stream)
    if stream.isatty() and environ.get("TERM") != "dumb":
        from quantize_lib.cli.console.terminal import TerminalReporter

        return TerminalReporter(stream, environ)
    return PlainReporter(stream)
