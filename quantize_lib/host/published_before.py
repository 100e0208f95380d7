"""The figures of what a cell's repository holds, which a limit may compare with."""

from __future__ import annotations

from quantize_lib.errors import PublishError
from quantize_lib.metrics import NO_WORSE_THAN
from quantize_lib.publish.base import Publisher
from quantize_lib.report import checkpoint_record_from_json
from quantize_lib.report.records import CellRecord, PublishedBefore


def published_before(publisher: Publisher | None, record: CellRecord) -> PublishedBefore:
    """What is published in the place of a cell; looked at only where one of its limits asks for it."""
    if publisher is None or record.repository is None or NO_WORSE_THAN not in record.limits:
        return PublishedBefore(asked=False)
    try:
        data = publisher.record(record.repository, record.part)
        if data is None:
            return PublishedBefore()
        return PublishedBefore(measurements=checkpoint_record_from_json(data).measurements)
    except PublishError as error:
        return PublishedBefore(fault=error.message)
    except (KeyError, TypeError, ValueError, AttributeError):
        return PublishedBefore(fault="its report is not one that this version reads")
