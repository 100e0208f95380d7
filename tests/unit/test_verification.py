"""`verify` finds what is not as it was made, and says what it could not look at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.card.state import with_rejected
from quantize_lib.cli import main
from quantize_lib.errors import CheckpointError, UsageError
from quantize_lib.files import read_json, sha256_file, write_json
from quantize_lib.report import RECORD_FILE
from quantize_lib.verification.findings import Finding
from quantize_lib.verification.places import LocalPlace
from quantize_lib.verification.signature import signer_of
from quantize_lib.verification.verify import verify
from tests.support.attestations import REAL, unsigned_bundle
from tests.support.publications import NOTES
from tests.support.recorded import recorded_checkpoint

RUN = "https://github.com/acme/models/actions/runs/1"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return recorded_checkpoint(tmp_path / "cell", run=RUN)


def findings(folder: Path, signed_by: str | None = None) -> dict[str, Finding]:
    return {one.check: one for one in verify(LocalPlace(folder), signed_by=signed_by).findings}


def states(folder: Path, signed_by: str | None = None) -> dict[str, str]:
    return {check: one.state for check, one in findings(folder, signed_by=signed_by).items()}


GOOD = {"files": "ok", "report": "ok", "fingerprint": "ok", "signature": "not checked"}


def change_record(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    data = read_json(folder / RECORD_FILE)
    change(data)
    write_json(folder / RECORD_FILE, data)


def test_a_checkpoint_as_it_was_made_is_found_to_be_so(checkpoint: Path) -> None:
    found = findings(checkpoint)
    assert {check: one.state for check, one in found.items()} == GOOD
    assert found["files"].text == "3 files are as recorded"
    assert found["signature"].text == "there is none: who made the checkpoint is not known"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
@pytest.mark.parametrize("place", [0, -2])
def test_one_flipped_bit_is_found_in_every_file(checkpoint: Path, name: str, place: int) -> None:
    data = bytearray((checkpoint / name).read_bytes())
    data[place] ^= 1
    (checkpoint / name).write_bytes(data)
    found = findings(checkpoint)["files"]
    assert (found.state, found.text) == ("failed", f"{name} was changed")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
def test_a_missing_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    found = findings(checkpoint)["files"]
    assert (found.state, found.text) == ("failed", f"{name} is missing")


@pytest.mark.parametrize("name", ["more.safetensors", "modeling_x.py", "generation_config.json", "sub/x.bin"])
def test_a_file_that_a_loader_might_take_and_no_report_names_is_found(checkpoint: Path, name: str) -> None:
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_bytes(b"x")
    found = findings(checkpoint)["files"]
    assert (found.state, found.text) == ("failed", f"{name} is not part of it")


def test_what_people_and_tools_put_beside_it_is_no_fault_and_is_told(checkpoint: Path) -> None:
    for name in (".gitattributes", "notes.md", "pictures/a.png", ".cache/huggingface/x.lock", ".git/HEAD"):
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_bytes(b"x")
    found = findings(checkpoint)["files"]
    assert found.state == "ok"
    assert found.text == (
        "3 files are as recorded; notes.md is not part of it, and nothing loads it; "
        "pictures/a.png is not part of it, and nothing loads it"
    )


def test_a_card_may_have_what_publishing_hands_on_and_nothing_else(checkpoint: Path) -> None:
    card = checkpoint / "README.md"
    added = with_rejected(card.read_text(encoding="utf-8"), ["a1" * 32]) + f"\n{NOTES}\n"
    card.write_text(added, encoding="utf-8")
    assert findings(checkpoint)["files"].text == (
        "3 files are as recorded; README.md is as recorded but for what was added to it on the Hub"
    )
    card.write_text(added.replace("# Tiny", "# Other"), encoding="utf-8")
    assert findings(checkpoint)["files"].text == "README.md was changed"


def test_the_hubs_cache_of_links_is_read_and_a_link_to_nowhere_is_no_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in checkpoint.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert states(snapshot) == GOOD
    (checkpoint / "model.safetensors").unlink()
    assert findings(snapshot)["files"].text == "model.safetensors is no regular file"


def test_a_name_that_leads_out_of_the_folder_is_never_read(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    digest = sha256_file(tmp_path / "secret")
    change_record(checkpoint, lambda data: data["files"].update({"../secret": digest}))  # type: ignore[attr-defined]
    assert findings(checkpoint)["files"].text == "../secret is missing"


def test_what_this_tool_did_not_make_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=f"was not made by this tool: it has no {RECORD_FILE}"):
        findings(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "3", '{"id": "x"}', "[" * 100_000, '{"files": {"a": 1}}'],
)
def test_a_report_that_is_none_is_refused_in_one_line(checkpoint: Path, text: str) -> None:
    (checkpoint / RECORD_FILE).write_text(text)
    with pytest.raises(CheckpointError) as caught:
        findings(checkpoint)
    assert "\n" not in caught.value.message


def test_a_report_of_a_method_that_nobody_knows_is_one_of_another_version(checkpoint: Path) -> None:
    change_record(checkpoint, lambda data: data.update(method="later"))
    with pytest.raises(CheckpointError, match="is no report of this tool"):
        findings(checkpoint)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("size_after", 1, "it says that the weights have 1 B, and they have 256 B"),
        ("format", "awq", "it says awq, and config.json says"),
        ("files", {}, "it names no config.json, or no weights"),
    ],
)
def test_a_report_that_the_files_contradict_is_found(
    checkpoint: Path, key: str, value: object, words: str
) -> None:
    change_record(checkpoint, lambda data: data.update({key: value}))
    found = findings(checkpoint)["report"]
    assert found.state == "failed"
    assert found.text.startswith(words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bits": 8}, "it is of bits 4, and the report says 8"),
        ({"revision": "b" * 40}, f"it is of revision {'a' * 40}, and the report says {'b' * 40}"),
        ({"model": "acme/other"}, "and the report says acme/other"),
        ({"fingerprint": "0" * 64}, "and what it says of it gives"),
        ({"fingerprint": None}, "the report has none"),
    ],
)
def test_a_fingerprint_that_is_not_that_of_the_report_is_found(
    checkpoint: Path, change: dict[str, object], words: str
) -> None:
    change_record(checkpoint, lambda data: data.update(change))
    found = findings(checkpoint)["fingerprint"]
    assert found.state == "failed"
    assert words in found.text


def test_a_card_of_another_checkpoint_is_found(checkpoint: Path) -> None:
    card = checkpoint / "README.md"
    card.write_text(card.read_text(encoding="utf-8").replace("  fingerprint: ", "  fingerprint: 00"))
    assert findings(checkpoint)["fingerprint"].state == "failed"


def test_an_earlier_versions_fingerprint_is_not_called_checked(checkpoint: Path) -> None:
    change_record(checkpoint, lambda data: data.pop("fingerprinted"))
    assert findings(checkpoint)["fingerprint"].state == "not checked"


# Signatures; those that are checked are in tests/integration/test_attestation.py.


def sign(folder: Path, **changed: object) -> None:
    bundle = unsigned_bundle({RECORD_FILE: sha256_file(folder / RECORD_FILE)}, **changed)
    (folder / ATTESTATION_FILE).write_bytes(bundle)


def test_a_signature_that_is_missing_fails_where_a_signer_was_named(checkpoint: Path) -> None:
    found = findings(checkpoint, signed_by="acme/models")["signature"]
    assert (found.state, found.text) == ("failed", "there is none, and acme/models was to have signed it")


def test_a_signature_of_another_report_is_found(checkpoint: Path) -> None:
    shutil.copy(REAL, checkpoint / ATTESTATION_FILE)
    found = findings(checkpoint)["signature"]
    assert (found.state, found.text) == ("failed", f"it is of another report than this {RECORD_FILE}")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"dsseEnvelope": {}}',
        b'{"dsseEnvelope": {"payload": "e30="}}',
        b"[" * 99999,
    ],
)
def test_what_is_no_signature_is_found_to_be_none(checkpoint: Path, data: bytes) -> None:
    (checkpoint / ATTESTATION_FILE).write_bytes(data)
    found = findings(checkpoint)["signature"]
    assert found.state == "failed"
    assert found.text.startswith(f"{ATTESTATION_FILE} is no signature: ")


def test_a_statement_of_another_kind_says_nothing_of_where_it_was_made(checkpoint: Path) -> None:
    sign(checkpoint, predicateType="https://example.org/reviewed")
    assert findings(checkpoint)["signature"].state == "failed"


def test_where_nothing_can_check_it_that_is_said_and_fails_where_a_signer_was_named(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Without an entry in the public log it is one of GitHub's own instance, which gh alone knows.
    monkeypatch.setenv("PATH", str(tmp_path))
    sign(checkpoint)
    said = "there is one, and nothing here to check it with: install gh"
    assert findings(checkpoint)["signature"].text == said
    assert states(checkpoint) == GOOD
    assert states(checkpoint, signed_by="acme/models") == {**GOOD, "signature": "failed"}


def test_a_signer_that_nobody_names_is_asked_for(tmp_path: Path) -> None:
    folder = recorded_checkpoint(tmp_path / "cell")
    sign(folder)
    found = findings(folder)["signature"]
    assert found.state == "not checked"
    assert "--signed-by" in found.text


@pytest.mark.parametrize(
    ("run", "signer"),
    [
        (RUN, "acme/models"),
        (f"{RUN}/../../evil", None),
        ("https://github.com.evil.example/acme/models/actions/runs/1", None),
        ("https://github.com/acme/models --repo x/actions/runs/1", None),
        (None, None),
    ],
)
def test_a_signer_is_read_from_a_workflow_run_and_from_nothing_else(
    run: str | None, signer: str | None
) -> None:
    assert signer_of(run) == signer


# The command.


def test_the_command_prints_each_check_and_ends_with_3_where_one_failed(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(checkpoint)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["files", "report", "fingerprint", "signature"]
    (checkpoint / "model.safetensors").write_bytes(b"other")
    assert main(["verify", str(checkpoint)]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", "x"], "--text belongs to --measure"),
        (["--revision", "main"], "--revision belongs to a repository on the Hub"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["verify", str(checkpoint), *words]) == UsageError.exit_code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("place", ["./nowhere", "nowhere", "a/b/c", "a--b/c"])
def test_what_is_neither_a_folder_nor_a_repository_is_refused_without_asking_the_hub(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", place]) == UsageError.exit_code


def test_a_report_that_would_steer_a_terminal_is_shown_without_its_controls(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_record(checkpoint, lambda data: data.update(model="a\x1b[2Jb\nc"))
    main(["verify", str(checkpoint)])
    assert "\x1b" not in capsys.readouterr().out
    assert json.loads((checkpoint / RECORD_FILE).read_text())["model"] == "a\x1b[2Jb\nc"
