"""Whether a workflow of a GitHub repository signed a checkpoint's report.

Signatures are checked by the Python package `sigstore` (the extra `signatures`) or by GitHub's own `gh`,
whichever is installed. `sigstore` uses the keys that come with its release and asks nobody; `gh` alone knows
those by which GitHub signs for private repositories.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.attestation import ATTESTATION_FILE, PREDICATE_TYPE, read_bundle, statement, subjects
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.text import plain
from quantize_lib.verification.findings import Finding, failed, not_checked, ok
from quantize_lib.verification.record import Record

_RUN = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9._-]+)/actions/runs/[0-9]+")
_ISSUER = "https://token.actions.githubusercontent.com"
_WORKFLOWS = r"^https://github\.com/"
_STATEMENT = "application/vnd.in-toto+json"
_SECONDS = 120
_CHECK = "signature"


def signer_of(workflow_run: str | None) -> str | None:
    """The GitHub repository of a workflow run's address, as a report has it; None where it is none."""
    found = _RUN.fullmatch(workflow_run or "")
    return None if found is None else found[1]


def check_signature(
    bundle: bytes | None, record: Record, *, expected: str | None, claimed: str | None
) -> Finding:
    """Check a signature.

    Args:
        bundle: the signature; None where there is none.
        record: what is signed.
        expected: the GitHub repository whose workflow must have signed it; None where anyone may have.
        claimed: the one that the report itself names, if it does.
    """
    if bundle is None:
        if expected is not None:
            return failed(_CHECK, f"there is none, and {expected} was to have signed it")
        return not_checked(_CHECK, "there is none: who made the checkpoint is not known")
    try:
        found = read_bundle(bundle)
        told = statement(found)
    except ValueError as error:
        return failed(_CHECK, f"{ATTESTATION_FILE} is no signature: {plain(str(error))}")
    if record.digest not in subjects(told):
        return failed(_CHECK, f"it is of another report than this {RECORD_FILE}")
    if told.get("predicateType") != PREDICATE_TYPE:
        return failed(_CHECK, f"it says {plain(str(told.get('predicateType')))}, not where this was made")
    signer = expected or claimed
    if signer is None:
        return not_checked(
            _CHECK, "there is one, and the report does not name its signer: say --signed-by OWNER/REPOSITORY"
        )
    is_public = _is_public(found)
    tool = _tool(is_public)
    if tool is None:
        needed = "the Python package sigstore (pip install sigstore), or gh" if is_public else "gh"
        text = f"there is one, and nothing here to check it with: install {needed}"
        return failed(_CHECK, text) if expected else not_checked(_CHECK, text)
    fault = tool(bundle, record, signer)
    if fault is not None:
        return failed(_CHECK, f"it is not a signature by a workflow of {signer}: {fault}")
    sure = "" if expected else ", which the report itself names; --signed-by makes sure that it is yours"
    return ok(_CHECK, f"signed by a workflow of {signer} on GitHub{sure}")


def _is_public(bundle: Mapping[str, Any]) -> bool:
    """Whether the public instance of Sigstore signed, which keeps a log; GitHub's own for private
    repositories keeps none."""
    material = bundle.get("verificationMaterial")
    return isinstance(material, dict) and bool(material.get("tlogEntries"))


_Tool = Callable[[bytes, Record, str], str | None]
"""Gets the bundle, what is signed, and the GitHub repository; says what is wrong, None where all is well."""


def _tool(is_public: bool) -> _Tool | None:
    """What can check a signature here; None where nothing can."""
    if is_public and importlib.util.find_spec("sigstore") is not None:
        return _fault_by_sigstore
    return None if shutil.which("gh") is None else _fault_by_gh


def _fault_by_sigstore(bundle: bytes, record: Record, signer: str) -> str | None:
    from sigstore.errors import Error
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy

    of_signer = policy.AllOf(
        [
            policy.OIDCIssuerV2(_ISSUER),
            policy.OIDCSourceRepositoryURI(f"https://github.com/{signer}"),
        ]
    )
    try:
        signed = Bundle.from_json(bundle)
        kind, payload = Verifier.production(offline=True).verify_dsse(signed, of_signer)
    except (Error, ValueError) as error:
        return plain(str(error)) or type(error).__name__
    # Of the bytes whose signature was checked, whatever was read before.
    if kind != _STATEMENT or record.digest not in subjects(json.loads(payload)):
        return "what is signed is not this report"
    return None


def _fault_by_gh(bundle: bytes, record: Record, signer: str) -> str | None:
    with tempfile.TemporaryDirectory() as name:
        signed, signature = Path(name) / RECORD_FILE, Path(name) / ATTESTATION_FILE
        signed.write_bytes(record.data)
        signature.write_bytes(bundle)
        words = ["gh", "attestation", "verify", str(signed), "--bundle", str(signature), "--repo", signer]
        # A reusable workflow may lie in another repository; whose run it was is what --repo asks.
        words += ["--cert-identity-regex", _WORKFLOWS, "--predicate-type", PREDICATE_TYPE]
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env={key: value for key, value in os.environ.items() if not key.startswith("HF_")},
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return plain(str(error))
    if done.returncode == 0:
        return None
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return f"gh: {plain(said[-1])}" if said else f"gh ended with exit code {done.returncode}"
