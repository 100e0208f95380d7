"""What lies beside a shard's statistics: whose they are, and which shard of how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from quantize_lib.errors import CalibrationError, UsageError
from quantize_lib.files import write_json
from quantize_lib.job.checked import read_checked
from quantize_lib.job.layout import STATISTICS_FILE
from quantize_lib.job.schema import statistics_schema
from quantize_lib.text import printable
from quantize_lib.wording import joined

_VERSION = 1
_WORDS = {
    "revision": "revision {} of the base model",
    "calibration": "calibration text with the digest {}",
    "sequences": "{} sequences of calibration text",
    "sequence_length": "sequences of {} tokens",
    "device": "the device {}",
    "dtype": "blocks that compute in {}",
}


@dataclass(frozen=True, kw_only=True)
class StatisticsSource:
    """What determines sums, the same for every shard of a text.

    Attributes:
        revision: of the base model.
        calibration: digest of the token ids of the whole text.
        sequences, sequence_length: of the whole text.
        device: where it is computed.
        dtype: in which the blocks compute.
        versions: of this tool and of the libraries that compute.
    """

    revision: str
    calibration: str
    sequences: int
    sequence_length: int
    device: str
    dtype: str
    versions: Mapping[str, str]

    def difference(self, other: StatisticsSource) -> tuple[str, str] | None:
        """The first thing in which two differ, as each has it; None where they are the same."""
        for name, words in _WORDS.items():
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                return words.format(mine), words.format(others)
        for name in dict.fromkeys((*self.versions, *other.versions)):
            mine, others = self.versions.get(name, "none"), other.versions.get(name, "none")
            if mine != others:
                return f"{name} {mine}", f"{name} {others}"
        return None


@dataclass(frozen=True, kw_only=True)
class StatisticsFile:
    """A file of sums: its size in bytes, and the hex sha256 of them."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StatisticsRecord:
    """What a shard says of itself.

    Attributes:
        folder: where it lies.
        job: the job's id, for messages.
        number, count: which shard of how many.
        source: what determines its sums.
        files: by name.
    """

    folder: Path
    job: str
    number: int
    count: int
    source: StatisticsSource
    files: Mapping[str, StatisticsFile]

    def fault(self, reason: str) -> CalibrationError:
        """What is wrong with it, and the command that makes it again."""
        return CalibrationError(
            f"shard {self.number} of {self.count} ({self.folder}): {printable(reason)}",
            hint=again(self.number, self.count),
        )


def again(number: int, count: int) -> str:
    """How a shard is made again."""
    return (
        f"Make shard {number} of {count} again, by itself: "
        f"model-quantizer calibrate MANIFEST --shard {number}/{count} --output DIR"
    )


def write_record(record: StatisticsRecord) -> None:
    """Write it into its folder; last of all, so that what has it is whole."""
    data = {field.name: getattr(record, field.name) for field in fields(record) if field.name != "folder"}
    data["source"] = asdict(record.source)
    data["files"] = {name: asdict(file) for name, file in record.files.items()}
    write_json(record.folder / STATISTICS_FILE, {"version": _VERSION, **data})


def read_record(folder: Path) -> StatisticsRecord:
    """Read it from a shard's folder. It is foreign: the process that wrote it may have run the model's code.

    Raises:
        CalibrationError: where it is missing, or not as its schema says.
    """
    try:
        data: dict[str, Any] = read_checked(folder / STATISTICS_FILE, "statistics", statistics_schema())
    except UsageError as error:
        raise CalibrationError(
            f"the statistics in {folder} cannot be used: {printable(error.message)}",
            hint="Make this shard again: model-quantizer calibrate MANIFEST --shard K/N --output DIR",
        ) from error
    del data["version"]
    return StatisticsRecord(
        folder=folder,
        **{
            **data,
            "source": StatisticsSource(**data["source"]),
            "files": {name: StatisticsFile(**file) for name, file in data["files"].items()},
        },
    )


def whole_set(records: Sequence[StatisticsRecord]) -> list[StatisticsRecord]:
    """Shards in their order, of which none is missing, there twice, or of another plan than the others.

    Args:
        records: at least one.

    Raises:
        CalibrationError: naming the shard, with the command that makes it again.
    """
    first = min(records, key=lambda record: (record.count, record.number))
    found: dict[int, StatisticsRecord] = {}
    for record in records:
        if record.count != first.count:
            raise CalibrationError(
                f"{record.folder} is shard {record.number} of {record.count}, and {first.folder} one of "
                f"{first.count}: they do not belong together",
                hint="Name the folder of one of the two, or remove the shards of the other.",
            )
        if record.number > record.count:
            raise record.fault("there is no such shard")
        twin = found.setdefault(record.number, record)
        if twin is not record:
            raise CalibrationError(
                f"shard {record.number} of {record.count} is there twice: {twin.folder} and {record.folder}",
                hint="Remove one of the two, or do not name its folder.",
            )
    missing = [number for number in range(1, first.count + 1) if number not in found]
    if missing:
        word = "shard" if len(missing) == 1 else "shards"
        verb = "is" if len(missing) == 1 else "are"
        raise CalibrationError(
            f"{word} {joined(map(str, missing))} of {first.count} {verb} missing; there "
            f"{'is' if len(found) == 1 else 'are'} {joined(str(number) for number in sorted(found))} in "
            f"{first.folder.parent}",
            hint=again(missing[0], first.count),
        )
    ordered = [found[number] for number in sorted(found)]
    for record in ordered[1:]:
        check_source(record, ordered[0].source, f"shard 1 of {first.count}")
    return ordered


def check_source(record: StatisticsRecord, wanted: StatisticsSource, owner: str) -> None:
    """Check that a shard's sums belong to what they are added for.

    Args:
        wanted: what should determine them.
        owner: whose that is, for the message.

    Raises:
        CalibrationError: naming the shard and the difference.
    """
    difference = record.source.difference(wanted)
    if difference is not None:
        raise record.fault(f"it was made with {difference[0]}, and {owner} has {difference[1]}")
