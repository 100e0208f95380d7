"""`verify`: whether a published checkpoint is what its report says."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.reporting import Reporter
from quantize_lib.text import plain

if TYPE_CHECKING:
    from quantize_lib.verification.findings import Finding
    from quantize_lib.verification.places import Place
    from quantize_lib.verification.verify import Verified

_DEFAULT_REVISION = "main"


def verify(options: argparse.Namespace, reporter: Reporter) -> int:
    """Check a checkpoint, and say of each check what it found."""
    from quantize_lib.verification.files import check_beside
    from quantize_lib.verification.verify import verify as verify_place

    if options.text and not options.measure:
        raise UsageError("--text belongs to --measure")
    place = _place(options)
    found: list[tuple[str, list[Finding]]] = []
    with TemporaryDirectory() as scratch:
        parts = place.parts(Path(scratch))
        for one in parts or (place,):
            with reporter.group(f"Verifying {one.label}"):
                verified = verify_place(one, signed_by=options.signed_by, whole=options.measure)
            found.append((one.label, list(verified.findings)))
            if options.measure:
                found[-1][1].append(_measured(one, verified, tuple(options.text or ()), reporter))
        if parts:
            found.append((place.label, [check_beside(place, parts)]))
    for label, findings in found:
        print(plain(label))
        for finding in findings:
            print(f"  {finding.check:<12} {finding.state}: {finding.text}")
    wrong = any(finding.state == "failed" for _, findings in found for finding in findings)
    return ExitCode.CELL_FAILED if wrong else ExitCode.OK


def _place(options: argparse.Namespace) -> Place:
    from quantize_lib.names import local_folder, repository_fault
    from quantize_lib.verification.places import HubPlace, LocalPlace

    try:
        folder = local_folder(options.place, Path.cwd())
    except ValueError as error:
        raise UsageError(f"{options.place}: {error}", hint="Name a checkpoint's folder.") from None
    if folder is not None:
        if options.revision is not None:
            raise UsageError(f"--revision belongs to a repository on the Hub, and {folder} is a folder")
        return LocalPlace(folder)
    fault = repository_fault(options.place)
    if fault is not None or "/" not in options.place:
        raise UsageError(
            f"{options.place!r} is neither a folder nor a repository on the Hub",
            hint="Name a checkpoint's folder, or NAMESPACE/NAME.",
        )
    return HubPlace(options.place, options.revision or _DEFAULT_REVISION)


def _measured(place: Place, verified: Verified, files: tuple[Path, ...], reporter: Reporter) -> Finding:
    from quantize_lib.metrics import METRICS
    from quantize_lib.verification.findings import failed, not_checked, ok
    from quantize_lib.worker.measure_again import measure_again

    check = "figures"
    if any(finding.state == "failed" for finding in verified.findings):
        return not_checked(check, "what is not as recorded is not loaded")
    measurements = verified.cell.measurements
    if measurements is None or measurements.evaluation is None:
        raise UsageError(f"--measure: the report of {place.label} has no figures on held-out text")
    found = measure_again(
        place.bring(verified.cell.files),
        measurements.evaluation,
        {name: figure.sequence_means for name, figure in measurements.figures.items()},
        files,
        reporter=reporter,
    )
    told = ", ".join(
        f"{METRICS[name].title} {measured:.4g}, recorded {recorded:.4g}"
        for name, (measured, recorded) in found.figures.items()
    )
    text = f"on the first {found.sequences} sequences of the held-out text: {told}"
    return ok(check, text) if found.reproduced else failed(check, text)
