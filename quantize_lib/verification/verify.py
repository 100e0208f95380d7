"""All checks of one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.report.records import CellRecord
from quantize_lib.verification.files import check_files
from quantize_lib.verification.findings import Finding
from quantize_lib.verification.places import Place
from quantize_lib.verification.record import check_fingerprint, check_report, read_record
from quantize_lib.verification.signature import check_signature, signer_of


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was found.

    Attributes:
        cell: what the checkpoint's report says.
        findings: one for each check, in the order in which they are shown.
    """

    cell: CellRecord
    findings: tuple[Finding, ...]


def verify(place: Place, *, signed_by: str | None = None, whole: bool = False) -> Verified:
    """Check a checkpoint.

    Args:
        place: where it lies.
        signed_by: the GitHub repository, `OWNER/NAME`, whose workflow must have signed it; None where a
            signature is checked if there is one.
        whole: whether every file is downloaded and hashed here, also where the Hub's list names its digest.

    Raises:
        CheckpointError: where it is none of this tool's, or cannot be read.
        SourceError: where the Hub cannot be asked.
    """
    record = read_record(place)
    if whole:
        place.bring([name for name in record.cell.files if name in place.sizes()])
    bundle = place.read(ATTESTATION_FILE) if ATTESTATION_FILE in place.sizes() else None
    return Verified(
        cell=record.cell,
        findings=(
            check_files(place, record.cell.files),
            check_report(place, record.cell),
            check_fingerprint(place, record.cell),
            check_signature(
                bundle,
                record,
                expected=signed_by,
                claimed=signer_of(record.cell.provenance.get("workflow_run")),
            ),
        ),
    )
