"""Puts finished checkpoints where they are read; one place to publish to is one file, named in `registry`."""

from quantize_lib.publish.base import Published, PublishedState, Publisher
from quantize_lib.publish.registry import get_publisher
from quantize_lib.report.records import RECORD_FILE

__all__ = ["RECORD_FILE", "Published", "PublishedState", "Publisher", "get_publisher"]
