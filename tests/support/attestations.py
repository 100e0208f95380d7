"""Sigstore bundles: one that GitHub really made, and what can be made here, without a signature."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.attestation import PREDICATE_TYPE, STATEMENT_TYPE

DATA = Path(__file__).resolve().parents[1] / "data" / "attestation"
REAL = DATA / "github.sigstore.json"
"""Made by a reusable workflow of bdehamer/workflows in a run of malancas/attest-demo (gh's test data)."""
REAL_SIGNER = "malancas/attest-demo"
REAL_DIGEST = "49a3aa6075e0f49f82843e74b5baa614ad2a588e6675612bf108a0a008c5ac25"


def unsigned_bundle(digests: Mapping[str, str], **changed: Any) -> bytes:
    """A bundle whose statement is about these files, and which nobody signed.

    Args:
        digests: hex sha256 by name.
        changed: of the statement.
    """
    subjects = [{"name": name, "digest": {"sha256": digest}} for name, digest in digests.items()]
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {},
        **changed,
    }
    payload = b64encode(json.dumps(statement).encode()).decode()
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": payload,
        "signatures": [{"sig": ""}],
    }
    return json.dumps({"verificationMaterial": {}, "dsseEnvelope": envelope}).encode()
