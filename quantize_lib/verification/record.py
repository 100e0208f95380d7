"""The report inside a checkpoint: whether it is one of ours, and says nothing that the files contradict."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from quantize_lib.card.front import metadata_of
from quantize_lib.card.state import card_state
from quantize_lib.errors import CheckpointError, PublishError
from quantize_lib.files import sha256_json
from quantize_lib.formats import format_of_config, is_weight_file
from quantize_lib.report import published_cell, record_from_json
from quantize_lib.report.records import CARD_FILE, RECORD_FILE, CellRecord
from quantize_lib.text import format_bytes, plain
from quantize_lib.verification.findings import Finding, failed, not_checked, ok
from quantize_lib.verification.places import Place

_CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The report inside a checkpoint.

    Attributes:
        cell: what it says.
        data: the file itself.
    """

    cell: CellRecord
    data: bytes

    @property
    def digest(self) -> str:
        """Hex sha256 of the file."""
        return sha256(self.data).hexdigest()


def read_record(place: Place) -> Record:
    """The report inside a checkpoint.

    Raises:
        CheckpointError: where there is none, or none that this tool wrote.
    """
    if RECORD_FILE not in place.sizes():
        raise CheckpointError(
            f"{place.label} was not made by this tool: it has no {RECORD_FILE}",
            hint="Only a checkpoint that model-quantizer made can be verified.",
        )
    data = place.read(RECORD_FILE)
    return Record(cell=_cell(place, data), data=data)


def _cell(place: Place, data: bytes) -> CellRecord:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    from quantize_lib.report.report_schema import report_schema

    where = f"{place.label}: {RECORD_FILE}"
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is not JSON: {plain(str(error))}") from None
    schema = {"$ref": "#/$defs/cell", "$defs": report_schema()["$defs"]}
    whole = published_cell(found) if isinstance(found, dict) else found
    problem = best_match(Draft202012Validator(schema).iter_errors(whole))
    if problem is not None:
        raise CheckpointError(
            f"{where} is no report of this tool: {plain(problem.json_path)}: {plain(problem.message)[:200]}"
        )
    try:
        return record_from_json(whole)
    except (KeyError, TypeError, ValueError) as error:
        # A method, say, that another version knows.
        raise CheckpointError(
            f"{where} is not one that this version reads: {plain(str(error))}",
            hint="Install the newest release.",
        ) from None


def check_report(place: Place, cell: CellRecord) -> Finding:
    """Whether what the report says of format and size is what config and files say."""
    said = f"{plain(cell.method)} at {plain(cell.width)}, of {plain(cell.model)}"
    if cell.revision is not None:
        said += f" at {plain(cell.revision)}"
    problems = list(_contradictions(place, cell))
    return failed("report", "; ".join(problems)) if problems else ok("report", said)


def _contradictions(place: Place, cell: CellRecord) -> Iterator[str]:
    sizes = place.sizes()
    weights = [name for name in cell.files if is_weight_file(name)]
    if not weights or _CONFIG not in cell.files:
        yield f"it names no {_CONFIG}, or no weights"
        return
    size = sum(sizes.get(name, 0) for name in weights)
    if cell.measurements is not None and all(name in sizes for name in weights):
        told = cell.measurements.size_after
        if told != size:
            yield f"it says that the weights have {format_bytes(told)}, and they have {format_bytes(size)}"
    if _CONFIG not in sizes:
        return
    try:
        config = json.loads(place.read(_CONFIG))
        quantization = config["quantization_config"]
        found = format_of_config(quantization) if isinstance(quantization, dict) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        yield f"{_CONFIG} has no quantization_config"
        return
    if found is None or found.name != cell.format:
        yield f"it says {plain(cell.format)}, and {_CONFIG} says {plain(str(quantization))[:80]}"


def check_fingerprint(place: Place, cell: CellRecord) -> Finding:
    """Whether the fingerprint follows from what the report says of it, and is the card's."""
    problems = list(_other_fingerprints(place, cell))
    if problems:
        return failed("fingerprint", "; ".join(problems))
    if not cell.fingerprinted:
        return not_checked(
            "fingerprint",
            f"{plain(str(cell.fingerprint))}: the report, of an earlier version, does not say of what it is "
            "the digest",
        )
    return ok("fingerprint", f"{cell.fingerprint} follows from the base model, the settings and the data")


def _other_fingerprints(place: Place, cell: CellRecord) -> Iterator[str]:
    if cell.fingerprint is None:
        yield "the report has none"
        return
    if CARD_FILE in place.sizes():
        try:
            state = card_state(metadata_of(place.read(CARD_FILE).decode("utf-8", errors="replace")))
        except PublishError:
            state = None
        if state is not None and state.fingerprint != cell.fingerprint:
            yield f"{CARD_FILE} says {state.fingerprint}, and the report {plain(cell.fingerprint)}"
    made = cell.fingerprinted
    if not made:
        return
    if sha256_json(made) != cell.fingerprint:
        yield f"the report's is {plain(cell.fingerprint)}, and what it says of it gives {sha256_json(made)}"
    settings, model = _mapping(made.get("settings")), _mapping(made.get("model"))
    told = {"method": cell.method, "bits": cell.bits, "revision": cell.revision}
    hashed = {**settings, "revision": model.get("revision")}
    for name, value in told.items():
        if hashed.get(name) != value:
            yield f"it is of {name} {plain(str(hashed.get(name)))}, and the report says {plain(str(value))}"
    if model.get("id") not in (None, cell.model):
        yield f"it is of {plain(str(model.get('id')))}, and the report says {plain(cell.model)}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
