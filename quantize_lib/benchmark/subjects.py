"""Which model folders are measured: what paths name, and the base models beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.benchmark.records import Subject
from quantize_lib.errors import UsageError
from quantize_lib.files import read_json
from quantize_lib.formats import weight_files
from quantize_lib.methods import METHODS
from quantize_lib.report import RECORD_FILE, REPORT_FILE, read_manifest_path, read_report
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter
from quantize_lib.source.checkpoint import checkpoint_config
from quantize_lib.tasks import task_of
from quantize_lib.text import plain

_CONFIG = "config.json"


def find_subjects(paths: Sequence[Path], base: Path | None, reporter: Reporter) -> tuple[Subject, ...]:
    """Everything that is to be measured, each base model before the checkpoints that are compared with it.

    Args:
        paths: checkpoints, base models, output folders of runs and their reports.
        base: what every checkpoint is compared with; None: what report or record say, where it is here.
        reporter: gets cells that have no checkpoint, and checkpoints without a base model.

    Raises:
        UsageError: where a path is nothing of that, or continues no text.
    """
    whole = None if base is None else _Found.folder(base)
    found: list[_Found] = []
    for path in paths:
        found += _found(path, reporter)
    if not found:
        raise UsageError("there is no checkpoint to measure", hint="`run` leaves them in its output folder.")
    everything: dict[Path, _Found] = {}
    base_of: dict[Path, Path] = {}
    for one in found:
        other = one.base() if whole is None else whole
        if other is not None and one.path not in _line(other.path, base_of):
            everything.setdefault(other.path, other)
            base_of[one.path] = other.path
        everything.setdefault(one.path, one)
    names = _names(everything.values())
    ordered = _in_order(
        tuple(
            _subject(one, names[path], names[base_of[path]] if path in base_of else None)
            for path, one in everything.items()
        )
    )
    for subject in ordered:
        if subject.base_missing is not None:
            reporter.warning(f"{subject.name} is measured without a base model: {subject.base_missing}")
    return ordered


class _Found:
    """A folder with what is known of it.

    Attributes:
        path: of the folder, absolute, without links.
        name: that it should have.
        record: what a run said of it: a cell of a report, or the report inside a checkpoint, as plain data.
        beside: folders in which a base model's relative path may lie.
    """

    def __init__(
        self, path: Path, *, name: str, record: Mapping[str, Any], beside: Iterable[Path] = ()
    ) -> None:
        self.path = path.resolve()
        self.name = name
        self.record = record
        self.beside = (*beside, Path())

    @classmethod
    def folder(cls, path: Path) -> _Found:
        """A model folder with its own record, where it has one."""
        config = checkpoint_config(path)
        task = task_of(config)
        if not task.continues:
            raise UsageError(f"{path} is {task.words}, which continues no text: there is nothing to time")
        return cls(path, name=path.resolve().name, record=_own_record(path))

    def base(self) -> _Found | None:
        """Its base model, where that is on this machine."""
        model = self.record.get("model")
        if not isinstance(model, str):
            return None
        for folder in (*(beside / model for beside in self.beside), *_cached(model, self.record)):
            if _is_model(folder):
                found = _Found.folder(folder)
                # The Hub's cache names folders by their commits.
                found.name = Path(model).name
                return found
        return None

    def why_no_base(self) -> str | None:
        """Why there is none; nothing where none is to be expected."""
        if (model := self.record.get("model")) is None:
            quantized = "quantization_config" in checkpoint_config(self.path)
            return f"it has no {RECORD_FILE}, which names one" if quantized else None
        return f"{plain(str(model))} is not on this machine; --base names its folder"


def _found(path: Path, reporter: Reporter) -> list[_Found]:
    if path.is_dir() and (path / _CONFIG).exists():
        return [_Found.folder(path)]
    if path.name == REPORT_FILE and path.is_file():
        path = path.parent
    if not (path / REPORT_FILE).is_file():
        raise UsageError(
            f"{path} is no checkpoint and no run's output",
            hint=f"Name a folder with {_CONFIG}, or one with {REPORT_FILE}, or a {REPORT_FILE}.",
        )
    manifest = read_manifest_path(path)
    beside = [path, *([] if manifest is None else [manifest.parent])]
    found = []
    for record in read_report(path):
        folder = None if record.path is None else path / record.path
        if folder is None or not (folder / _CONFIG).is_file():
            reporter.warning(f"{record.id} has no checkpoint in {path}, and is left out")
            continue
        one = _Found.folder(folder)
        found.append(_Found(one.path, name=record.id, record=_plain(record), beside=beside))
    return found


def _is_model(folder: Path) -> bool:
    """Whether it is there with its weights, which the Hub's cache may lack.

    What a record names may be nothing that a path can be.
    """
    try:
        return (folder / _CONFIG).is_file() and bool(weight_files(folder))
    except OSError:
        return False


def _plain(record: CellRecord) -> dict[str, Any]:
    return {
        "model": record.model,
        "revision": record.revision,
        "method": record.method,
        "bits": record.bits,
        "width": record.width,
    }


def _own_record(folder: Path) -> Mapping[str, Any]:
    """The report inside a checkpoint; nothing where there is none that can be read."""
    try:
        record = read_json(folder / RECORD_FILE)
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _cached(model: str, record: Mapping[str, Any]) -> list[Path]:
    """Where the Hub's cache has a model's files, at the revision that was quantized."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    revision = record.get("revision")
    try:
        path = try_to_load_from_cache(
            model, _CONFIG, revision=revision if isinstance(revision, str) else None
        )
    except HFValidationError:
        return []
    return [Path(path).parent] if isinstance(path, str) else []


def _line(path: Path, base_of: Mapping[Path, Path]) -> Iterator[Path]:
    """A folder, its base, and so on."""
    current: Path | None = path
    while current is not None:
        yield current
        current = base_of.get(current)


def _names(found: Iterable[_Found]) -> dict[Path, str]:
    """A name for each folder; two folders of one name are told apart by their paths."""
    names: dict[Path, str] = {}
    for one in found:
        name = plain(one.name)
        names[one.path] = plain(str(one.path)) if name in names.values() else name
    return names


def _subject(found: _Found, name: str, base: str | None) -> Subject:
    from quantize_lib.checkpoint.assemble import weight_bytes

    bits = found.record.get("bits")
    return Subject(
        name=name,
        folder=found.path,
        kind=_kind(found),
        bits=bits if isinstance(bits, int) else None,
        size_bytes=weight_bytes(found.path),
        base=base,
        base_missing=found.why_no_base() if base is None else None,
    )


def _kind(found: _Found) -> str:
    method = METHODS.get(str(found.record.get("method")))
    if method is None:
        quantization = checkpoint_config(found.path).get("quantization_config") or {}
        return plain(str(quantization.get("quant_method", "quantized"))) if quantization else "full precision"
    width = found.record.get("width") or f"{found.record.get('bits')} bits"
    return plain(f"{method.title}, {width}")


def _in_order(subjects: tuple[Subject, ...]) -> tuple[Subject, ...]:
    """Each base model before what is compared with it; one that was named itself says nothing of a base."""
    bases = {subject.base for subject in subjects}

    def below(base: str | None) -> Iterator[Subject]:
        for subject in subjects:
            if subject.base == base:
                yield replace(subject, base_missing=None) if subject.name in bases else subject
                yield from below(subject.name)

    return tuple(below(None))
