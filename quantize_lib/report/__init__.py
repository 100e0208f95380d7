"""What a run did, for programs (`report.json`) and for people (tables)."""

from quantize_lib.report.document import (
    REPORT_FILE,
    checkpoint_record,
    checkpoint_record_from_json,
    published_cell,
    read_manifest_path,
    read_publish_spec,
    read_report,
    record_from_json,
    record_to_json,
    write_report,
)
from quantize_lib.report.outcome import exit_code
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.report.summary import summary_markdown
from quantize_lib.report.tables import summary_table

__all__ = [
    "RECORD_FILE",
    "REPORT_FILE",
    "checkpoint_record",
    "checkpoint_record_from_json",
    "exit_code",
    "published_cell",
    "read_manifest_path",
    "read_publish_spec",
    "read_report",
    "record_from_json",
    "record_to_json",
    "summary_markdown",
    "summary_table",
    "write_report",
]
