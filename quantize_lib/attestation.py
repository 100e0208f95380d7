"""The signature that travels with a checkpoint: a Sigstore bundle beside its report, as GitHub's attestation
makes it.

What is signed is an in-toto statement (v1) with a SLSA provenance (v1), whose subject is the report. As the
report names every other file's digest and says how they were made, that covers the whole checkpoint. Nothing
here checks a signature (`verification.signature`). Standard library only: the action's steps use it, too.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance,
https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

ATTESTATION_FILE = "quantization_report.sigstore.json"
"""The bundle inside a checkpoint. The report cannot name it: it holds the report's digest."""
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


def read_bundle(data: bytes) -> dict[str, Any]:
    """A bundle as JSON.

    Raises:
        ValueError: where it is none.
    """
    try:
        bundle = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(bundle, dict) or not isinstance(bundle.get("dsseEnvelope"), dict):
        raise ValueError("it holds no signed statement (dsseEnvelope)")
    return bundle


def statement(bundle: dict[str, Any]) -> dict[str, Any]:
    """What a bundle's envelope says, whoever signed it.

    Raises:
        ValueError: where it is no in-toto statement.
    """
    try:
        found = json.loads(b64decode(bundle["dsseEnvelope"]["payload"], validate=True))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its statement cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("_type") != STATEMENT_TYPE:
        raise ValueError("it holds no in-toto statement (v1)")
    return found


def subjects(found: dict[str, Any]) -> frozenset[str]:
    """Hex sha256 of everything that a statement is about."""
    return frozenset(_digests(found.get("subject")))


def _digests(value: object) -> Iterator[str]:
    for subject in value if isinstance(value, list) else ():
        digest = subject.get("digest") if isinstance(subject, dict) else None
        sha256 = digest.get("sha256") if isinstance(digest, dict) else None
        if isinstance(sha256, str):
            yield sha256
