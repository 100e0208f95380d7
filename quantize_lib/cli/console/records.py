"""What a run's result looks like to who started it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from quantize_lib.cli.console.github import neutralise
from quantize_lib.cli.console.summary import append_summary
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter


def show_records(records: Sequence[CellRecord], reporter: Reporter) -> None:
    """Print the table of a run, and append it to the summary of a workflow's step."""
    from quantize_lib.report import summary_markdown, summary_table

    table = summary_table(records)
    # Errors quote foreign names, and a workflow obeys commands on any stream.
    print(neutralise(table) if os.environ.get("GITHUB_ACTIONS") == "true" else table)
    append_summary(summary_markdown(records), os.environ, reporter)
