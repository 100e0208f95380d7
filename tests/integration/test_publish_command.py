"""`publish DIR` to the Hub from another machine, by token or identity, and `--rollback`, as users do it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantize_lib.report import read_report, write_report
from quantize_lib.report.records import RECORD_FILE, CellRecord
from quantize_lib.source.facts import Terms
from quantize_lib.targets import PublishSpec, publish_spec
from quantize_lib.text import format_bytes
from tests.support.hub import Hub, serve
from tests.support.publications import NAME, ONE, TOKEN, TWO, checkpoint
from tests.support.records import MEASURED, RECORD, with_figure
from tests.support.small_runs import ROOT, command, environment, report

CELL = "tiny-gptq-4bit"
CLAIMS = {"repository": "acme/models", "workflow": "quantize"}
OPEN_TERMS = Terms(license="mit")
HUB = publish_spec("hub", namespace="acme")
NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub()) as server:
        server.add_token(TOKEN, "acme")
        yield server


def output(
    folder: Path,
    fingerprint: str,
    *,
    spec: PublishSpec = HUB,
    kl: float = 0.1,
    terms: Terms = OPEN_TERMS,
) -> Path:
    """A run's output folder with one built cell."""
    folder.mkdir()
    made = checkpoint(folder / CELL, fingerprint)
    files = json.loads((made / RECORD_FILE).read_text(encoding="utf-8"))["files"]
    record: CellRecord = replace(
        RECORD,
        id=CELL,
        path=CELL,
        repository=NAME,
        status="built",
        commit=None,
        fingerprint=fingerprint,
        files=files,
        terms=terms,
        measurements=with_figure(MEASURED, "kl_divergence", after=kl),
    )
    write_report(folder, [record], started=NOW, finished=NOW, command="x", publish=spec)
    return folder


def env(hub: Hub, folder: Path, **more: str) -> dict[str, str]:
    return environment(**hub.environment(folder / "home"), **more)


def test_a_finished_output_is_published_from_another_machine(hub: Hub, tmp_path: Path) -> None:
    folder = output(tmp_path / "out", ONE)
    amount = format_bytes(sum(path.stat().st_size for path in (folder / CELL).iterdir()))
    done = command("publish", folder, cwd=tmp_path, env=env(hub, tmp_path, HF_TOKEN_WRITE=TOKEN))
    assert done.returncode == 0, done.stderr
    assert report(folder)[CELL]["status"] == "published"
    commit = hub.model(NAME).head
    page = f"{hub.endpoint}/{NAME}/tree/{commit}"
    assert (report(folder)[CELL]["commit"], report(folder)[CELL]["url"]) == (commit, page)
    assert hub.model(NAME).private
    # An upload can take long: what begins is said before it, and where it ended after it.
    assert [line for line in done.stderr.splitlines() if "publish" in line] == [
        f"{CELL}: publishing 4 files, {amount}, as {NAME}",
        f"{CELL} is published: {page}",
    ]


def test_what_was_published_before_an_interruption_stands_in_the_report(hub: Hub, tmp_path: Path) -> None:
    folder = output(tmp_path / "out", ONE)
    (record,) = read_report(folder)
    records = [record, replace(record, id="late-gptq-4bit", repository="acme/late")]
    write_report(folder, records, started=NOW, finished=NOW, command="x", publish=HUB)
    hub.fail("slow", route="create_repo", skip=1, seconds=20)
    run = subprocess.Popen(
        [sys.executable, str(ROOT / "entrypoint.py"), "publish", folder],
        env=env(hub, tmp_path, HF_TOKEN_WRITE=TOKEN),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(hub.asked("create_repo")) < 2 and run.poll() is None:
        threading.Event().wait(0.05)
    run.terminate()
    assert run.wait(timeout=60) == 130
    cells = report(folder)
    assert (cells[CELL]["status"], cells[CELL]["commit"]) == ("published", hub.model(NAME).head)
    assert cells["late-gptq-4bit"]["status"] == "built"


def test_a_file_that_was_changed_on_the_way_is_not_published(hub: Hub, tmp_path: Path) -> None:
    folder = output(tmp_path / "out", ONE)
    (folder / CELL / "model.safetensors").write_bytes(b"other")
    done = command("publish", folder, cwd=tmp_path, env=env(hub, tmp_path, HF_TOKEN_WRITE=TOKEN))
    assert done.returncode == 5
    assert "model.safetensors was changed" in done.stderr
    assert hub.repositories == {}


def test_the_gate_is_held_again_whatever_the_report_says(hub: Hub, tmp_path: Path) -> None:
    folder = output(tmp_path / "out", ONE, kl=0.5)
    done = command("publish", folder, cwd=tmp_path, env=env(hub, tmp_path, HF_TOKEN_WRITE=TOKEN))
    assert done.returncode == 4
    assert hub.repositories == {}


def test_without_token_and_identity_nothing_is_tried(hub: Hub, tmp_path: Path) -> None:
    done = command("publish", output(tmp_path / "out", ONE), cwd=tmp_path, env=env(hub, tmp_path))
    assert done.returncode == 2
    assert "HF_TOKEN_WRITE" in done.stderr
    assert hub.requests == []


def test_a_job_publishes_by_its_identity_into_the_repository_that_trusts_it(hub: Hub, tmp_path: Path) -> None:
    hub.add_model(NAME).publishers.append({"repository": "acme/models"})
    folder = output(tmp_path / "out", ONE)
    done = command("publish", folder, cwd=tmp_path, env=env(hub, tmp_path, **hub.job(**CLAIMS)))
    assert done.returncode == 0, done.stderr
    assert report(folder)[CELL]["commit"] == hub.model(NAME).head
    (traded,) = [value for value, token in hub.tokens.items() if token.job]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [data for data in written if traded.encode() in data or hub.job_secret.encode() in data]
    assert traded not in done.stdout + done.stderr


def test_an_exchange_that_fails_for_a_passing_reason_is_tried_again(hub: Hub, tmp_path: Path) -> None:
    hub.add_model(NAME).publishers.append({"repository": "acme/models"})
    hub.fail("status", route="exchange_token", status=429, retry_after="0")
    folder = output(tmp_path / "out", ONE)
    done = command("publish", folder, cwd=tmp_path, env=env(hub, tmp_path, **hub.job(**CLAIMS)))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("there", [True, False])
def test_a_repository_that_does_not_trust_the_job_says_what_to_do(
    hub: Hub, tmp_path: Path, there: bool
) -> None:
    if there:
        hub.add_model(NAME).publishers.append({"repository": "somebody/else"})
    folder = output(tmp_path / "out", ONE)
    done = command("publish", folder, cwd=tmp_path, env=env(hub, tmp_path, **hub.job(**CLAIMS)))
    assert done.returncode == 5
    assert "this workflow's identity was not taken for a token: the Hub answered 400" in done.stderr
    assert f"hf repos create {NAME} --private" in done.stderr
    assert hub.job_secret not in done.stdout + done.stderr


def test_an_identity_that_may_not_open_a_repository_says_so_once_and_the_state_is_not_lost(
    hub: Hub, tmp_path: Path
) -> None:
    hub.add_model(NAME, private=True).publishers.append({"repository": "acme/models"})
    folder = output(tmp_path / "out", ONE, spec=replace(HUB, private=False))
    told = env(hub, tmp_path, **hub.job(**CLAIMS))
    done = command("publish", folder, cwd=tmp_path, env=told)
    assert done.returncode == 5
    repository = hub.model(NAME)
    assert f"{NAME} is published at {repository.head}, but stays private: {NAME}: the Hub answered 403" in (
        done.stderr
    )
    assert "Make it public on the Hub under Settings, or say `private: true`" in done.stderr
    assert "identity was traded for a token that writes to that repository and may do nothing" in done.stderr
    assert "HF_TOKEN_WRITE (or HF_TOKEN) may not" not in done.stderr
    assert report(folder)[CELL]["status"] == "built"
    # Nothing is left to do but a person's part, so no later run makes or asks for it again.
    assert repository.private
    assert set(repository.refs) == {"refs/heads/main"}
    assert command("publish", folder, cwd=tmp_path, env=told).returncode == 0
    assert len(hub.asked("create_commit")) == 1
    assert len(hub.asked("update_settings")) == 1
    assert report(folder)[CELL]["commit"] == repository.head


def test_an_identity_that_may_not_gate_a_repository_sends_nothing_and_says_what_a_person_has_to_do(
    hub: Hub, tmp_path: Path
) -> None:
    hub.add_model(NAME).publishers.append({"repository": "acme/models"})
    folder = output(tmp_path / "out", ONE, spec=replace(HUB, private=False), terms=Terms(gated="auto"))
    done = command("publish", folder, cwd=tmp_path, env=env(hub, tmp_path, **hub.job(**CLAIMS)))
    assert done.returncode == 5
    assert f"{NAME} is public, and the base model is gated" in done.stderr
    assert "Switch access requests on under its Settings on the Hub." in done.stderr
    assert hub.asked("preupload") == []


def test_a_rollback_takes_back_and_the_same_is_not_published_again_unless_forced(
    hub: Hub, tmp_path: Path
) -> None:
    told = env(hub, tmp_path, HF_TOKEN_WRITE=TOKEN)
    assert command("publish", output(tmp_path / "one", ONE), cwd=tmp_path, env=told).returncode == 0
    bad = output(tmp_path / "output", TWO)
    assert command("publish", cwd=tmp_path, env=told).returncode == 0
    done = command("publish", "--rollback", CELL, cwd=tmp_path, env=told)
    assert done.returncode == 0, done.stderr
    assert f"{CELL} is what it was before: {NAME} at {hub.model(NAME).head}" in done.stderr
    assert json.loads(hub.model(NAME).files["config.json"]) == {"made": ONE}
    again = command("publish", bad, cwd=tmp_path, env=told)
    assert again.returncode == 5
    assert "was taken back by a rollback" in again.stderr
    assert command("publish", bad, "--force", cwd=tmp_path, env=told).returncode == 0
    assert json.loads(hub.model(NAME).files["config.json"]) == {"made": TWO}


def test_a_rollback_needs_no_output_folder_but_the_manifest(hub: Hub, tmp_path: Path) -> None:
    told = env(hub, tmp_path, HF_TOKEN_WRITE=TOKEN)
    for name, fingerprint in (("one", ONE), ("two", TWO)):
        folder = output(tmp_path / name, fingerprint)
        assert command("publish", folder, cwd=tmp_path, env=told).returncode == 0
    words = {
        "version": 1,
        "models": [{"id": "meta/tiny", "quantize": [{"method": "gptq", "bits": 4}]}],
        "publish": {"to": "hub", "namespace": "acme"},
    }
    (tmp_path / "quantize.yml").write_text(json.dumps(words), encoding="utf-8")
    done = command("publish", "quantize.yml", "--rollback", CELL, cwd=tmp_path, env=told)
    assert done.returncode == 0, done.stderr
    assert json.loads(hub.model(NAME).files["config.json"]) == {"made": ONE}


def test_a_rollback_of_what_is_not_there_says_so(hub: Hub, tmp_path: Path) -> None:
    told = env(hub, tmp_path, HF_TOKEN_WRITE=TOKEN)
    output(tmp_path / "output", ONE)
    unknown = command("publish", "--rollback", "tiny-gptq-8bit", cwd=tmp_path, env=told)
    assert (unknown.returncode, f"Perhaps you meant `{CELL}`?" in unknown.stderr) == (2, True)
    never = command("publish", "--rollback", CELL, cwd=tmp_path, env=told)
    assert (never.returncode, "that this tool published" in never.stderr) == (5, True)


def test_a_folder_keeps_no_history(hub: Hub, tmp_path: Path) -> None:
    output(tmp_path / "output", ONE, spec=publish_spec("directory", path=tmp_path / "published"))
    done = command("publish", "--rollback", CELL, cwd=tmp_path, env=env(hub, tmp_path))
    assert done.returncode == 2
    assert "keeps no history" in done.stderr
