"""Signatures are checked by the real library on a bundle that GitHub really made, and travel to the Hub."""

from __future__ import annotations

import importlib.util
import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.errors import PublishError
from quantize_lib.files import sha256_file
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Published
from quantize_lib.publish.directory.publisher import DirectoryPublisher
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import publish_spec
from quantize_lib.verification.findings import Finding
from quantize_lib.verification.places import HubPlace
from quantize_lib.verification.record import Record
from quantize_lib.verification.signature import check_signature
from quantize_lib.verification.verify import verify
from tests.support.attestations import REAL, REAL_DIGEST, REAL_SIGNER, unsigned_bundle
from tests.support.hub import Hub
from tests.support.publications import NAME, NOTES, met
from tests.support.recorded import FINGERPRINT, recorded_checkpoint
from tests.support.records import RECORD

with_sigstore = pytest.mark.skipif(
    importlib.util.find_spec("sigstore") is None, reason="the package sigstore is not installed"
)


@dataclass(frozen=True, kw_only=True)
class Signed(Record):
    """Stands for the file that the real bundle is about."""

    @property
    def digest(self) -> str:
        return REAL_DIGEST


def checked(bundle: bytes, signer: str = REAL_SIGNER) -> Finding:
    return check_signature(bundle, Signed(cell=RECORD, data=b""), expected=signer, claimed=None)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    bundle = json.loads(REAL.read_bytes())
    change(bundle)
    return json.dumps(bundle).encode()


@with_sigstore
def test_a_signature_that_github_made_is_good_for_its_repository_and_for_no_other() -> None:
    good = checked(REAL.read_bytes())
    assert (good.state, good.text) == ("ok", f"signed by a workflow of {REAL_SIGNER} on GitHub")
    # The workflow that signed lies in another repository; that of the run counts.
    for other in ("bdehamer/workflows", "malancas/attest", "malancas/attest-demo2"):
        bad = checked(REAL.read_bytes(), other)
        assert bad.state == "failed"
        assert REAL_SIGNER in bad.text


def other_statement(bundle: dict[str, Any]) -> None:
    """One more subject."""
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(b64decode(envelope["payload"]))
    statement["subject"].append({"name": "x", "digest": {"sha256": "0" * 64}})
    envelope["payload"] = b64encode(json.dumps(statement).encode()).decode()


def other_signature(bundle: dict[str, Any]) -> None:
    """One flipped bit."""
    signature = bytearray(b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = b64encode(signature).decode()


def other_moment(bundle: dict[str, Any]) -> None:
    """A moment at which the certificate was not valid."""
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1716999999"


def no_certificate(bundle: dict[str, Any]) -> None:
    """Nobody."""
    del bundle["verificationMaterial"]["certificate"]


@with_sigstore
@pytest.mark.parametrize("change", [other_statement, other_signature, other_moment, no_certificate])
def test_a_signature_that_was_tampered_with_is_found(change: Callable[[dict[str, Any]], object]) -> None:
    assert checked(changed(change)).state == "failed"


@with_sigstore
def test_another_reports_digest_under_a_real_signature_is_found() -> None:
    bundle = json.loads(REAL.read_bytes())
    forged = json.loads(unsigned_bundle({RECORD_FILE: REAL_DIGEST}))
    bundle["dsseEnvelope"]["payload"] = forged["dsseEnvelope"]["payload"]
    assert checked(json.dumps(bundle).encode()).state == "failed"


@pytest.mark.parametrize(("code", "state"), [(0, "ok"), (1, "failed")])
def test_gh_is_asked_by_name_of_the_repository_and_never_sees_a_token_of_the_hub(
    code: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in: the real one asks GitHub for its keys."""
    gh = tmp_path / "gh"
    said = "Error: verifying with issuer failed"
    gh.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nenv > {tmp_path}/env\n'
        f'echo "{said}" >&2\nexit {code}\n'
    )
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    # Of a private repository: not in the public log.
    found = checked(changed(lambda bundle: bundle["verificationMaterial"].pop("tlogEntries")))
    assert found.state == state
    assert ("gh: Error: verifying" in found.text) == (code != 0)
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:2] == ["attestation", "verify"]
    assert words[words.index("--repo") + 1] == REAL_SIGNER
    assert "hf_secret" not in (tmp_path / "env").read_text()


# On its way to the Hub, and there.


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with met(monkeypatch) as server:
        monkeypatch.setenv("HF_TOKEN_READ", "hf_" + "w" * 34)
        yield server


@pytest.fixture
def publisher() -> HubPublisher:
    return HubPublisher(publish_spec("hub", namespace="acme"), retry=Retry(sleep=lambda _: None))


def made(folder: Path, *, signed: bool = True, fingerprint: str = FINGERPRINT) -> Path:
    recorded_checkpoint(folder, fingerprint=fingerprint)
    if signed:
        bundle = unsigned_bundle({RECORD_FILE: sha256_file(folder / RECORD_FILE)})
        (folder / ATTESTATION_FILE).write_bytes(bundle)
    return folder


def publish(publisher: HubPublisher, folder: Path, fingerprint: str = FINGERPRINT) -> Published:
    return publisher.publish(folder, NAME, fingerprint=fingerprint, message="Quantize tiny")


def states(revision: str = "main") -> dict[str, str]:
    return {one.check: one.state for one in verify(HubPlace(NAME, revision)).findings}


GOOD = {"files": "ok", "report": "ok", "fingerprint": "ok", "signature": "not checked"}


def test_a_repository_is_verified_without_downloading_its_weights(
    hub: Hub, publisher: HubPublisher, tmp_path: Path
) -> None:
    commit = publish(publisher, made(tmp_path / "a")).commit
    before = len(hub.requests)
    assert states() == GOOD
    asked = [request.target for request in hub.requests[before:]]
    assert not [target for target in asked if "safetensors" in target]
    hub.model(NAME).add_files({"model.safetensors": b"flipped"})
    assert states() == {**GOOD, "files": "failed", "report": "failed"}
    assert states(commit) == GOOD


def test_what_is_to_be_measured_is_downloaded_and_hashed_here(
    hub: Hub, publisher: HubPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    publish(publisher, made(tmp_path / "a"))
    place = HubPlace(NAME, "main")
    assert {one.state for one in verify(place, whole=True).findings} == {"ok", "not checked"}
    blob = (place.bring(()) / "model.safetensors").resolve()
    blob.write_bytes(b"\1" + blob.read_bytes()[1:])
    found = verify(HubPlace(NAME, "main"), whole=True).findings[0]
    assert (found.state, found.text) == ("failed", "model.safetensors was changed")
    assert hub.asked("get_object")


def test_a_signed_report_is_published_byte_for_byte_whatever_people_wrote_on_the_card(
    hub: Hub, publisher: HubPublisher, tmp_path: Path
) -> None:
    publish(publisher, made(tmp_path / "a"))
    repository = hub.model(NAME)
    repository.add_files({"README.md": repository.files["README.md"] + f"\n{NOTES}\n".encode()})
    other = "b2" * 32
    second = made(tmp_path / "b", fingerprint=other)
    publish(publisher, second, other)
    assert NOTES.encode() in repository.files["README.md"]
    for name in (RECORD_FILE, ATTESTATION_FILE):
        assert repository.files[name] == (second / name).read_bytes()
    assert states()["files"] == "ok"
    assert publish(publisher, second, other).commit == repository.head


def test_a_rollback_brings_the_signature_back_and_takes_the_newer_one_away(
    hub: Hub, publisher: HubPublisher, tmp_path: Path
) -> None:
    first = made(tmp_path / "a")
    publish(publisher, first)
    publish(publisher, made(tmp_path / "b", fingerprint="b2" * 32), "b2" * 32)
    publisher.rollback(NAME)
    repository = hub.model(NAME)
    for name in (RECORD_FILE, ATTESTATION_FILE):
        assert repository.files[name] == (first / name).read_bytes()
    assert states() == GOOD
    # Back to one without.
    publish(publisher, made(tmp_path / "c", signed=False, fingerprint="c3" * 32), "c3" * 32)
    assert ATTESTATION_FILE not in repository.files
    publish(publisher, made(tmp_path / "d", fingerprint="d4" * 32), "d4" * 32)
    publisher.rollback(NAME)
    assert ATTESTATION_FILE not in repository.files
    assert states()["files"] == "ok"


def test_a_signature_of_another_report_is_published_nowhere(
    hub: Hub, publisher: HubPublisher, tmp_path: Path
) -> None:
    folder = made(tmp_path / "a")
    shutil.copy(REAL, folder / ATTESTATION_FILE)
    for target in (publisher, DirectoryPublisher(publish_spec("directory", path=tmp_path / "published"))):
        with pytest.raises(PublishError, match="is the signature of another report"):
            target.publish(folder, NAME, fingerprint=FINGERPRINT, message="x")
    assert not hub.asked("create_commit")


def test_a_folder_that_lacks_the_signature_alone_gets_it(tmp_path: Path) -> None:
    target = DirectoryPublisher(publish_spec("directory", path=tmp_path / "published"))
    folder = made(tmp_path / "a", signed=False)
    target.publish(folder, NAME, fingerprint=FINGERPRINT, message="x")
    bundle = unsigned_bundle({RECORD_FILE: sha256_file(folder / RECORD_FILE)})
    (folder / ATTESTATION_FILE).write_bytes(bundle)
    target.publish(folder, NAME, fingerprint=FINGERPRINT, message="x")
    assert (tmp_path / "published" / NAME / ATTESTATION_FILE).read_bytes() == bundle
