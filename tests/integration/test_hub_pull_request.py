"""A pull request instead of a commit: nothing changes on main before a person merges it, and there is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from quantize_lib.errors import PublishError
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Published
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.targets import PublishSpec, publish_spec
from tests.support.fleet import fleet, words
from tests.support.hub import Hub, Repository
from tests.support.hub.matrix import FAULTS, steps
from tests.support.hub.patience import wait_for_nothing
from tests.support.publications import NAME, ONE, TOKEN, TWO, checkpoint, met
from tests.support.small_runs import command, report, save_tiny_model

SPEC = publish_spec("hub", namespace="acme", pull_request=True)
COMMITS = publish_spec("hub", namespace="acme")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    wait_for_nothing(monkeypatch)
    with met(monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {fingerprint: checkpoint(folder / fingerprint, fingerprint) for fingerprint in (ONE, TWO)}


def publish(
    made: dict[str, Path], fingerprint: str, spec: PublishSpec = SPEC, *, force: bool = False
) -> Published:
    publisher = HubPublisher(spec, retry=Retry(sleep=lambda _: None))
    return publisher.publish(
        made[fingerprint], NAME, fingerprint=fingerprint, message="Quantize tiny", force=force
    )


def merge(hub: Hub, number: int) -> None:
    """As a person does it on the Hub."""
    HfApi(endpoint=hub.endpoint, token=TOKEN).merge_pull_request(NAME, number)


def proposed(repository: Repository, number: int) -> dict[str, bytes]:
    commit = repository.commits[repository.refs[f"refs/pr/{number}"]]
    return {name: blob.data for name, blob in commit.files.items() if name != ".gitattributes"}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_checkpoint_waits_in_one_pull_request_until_it_is_merged(
    hub: Hub, made: dict[str, Path]
) -> None:
    publish(made, ONE, COMMITS)
    repository = hub.model(NAME)
    before = repository.head
    done = publish(made, TWO)
    assert repository.head == before
    assert done == Published(
        commit=repository.refs["refs/pr/1"], proposal=f"{hub.endpoint}/{NAME}/discussions/1"
    )
    assert proposed(repository, 1) == content(made[TWO])
    assert repository.discussions[0].title == f"Quantize tiny [{TWO[:12]}]"
    assert publish(made, TWO) == done
    assert len(repository.discussions) == 1
    assert len(hub.asked("put_object")) == 2
    merge(hub, 1)
    assert publish(made, TWO) == Published(commit=repository.head)


def test_a_repository_that_is_made_for_it_shows_nothing_before(hub: Hub, made: dict[str, Path]) -> None:
    public = replace(SPEC, private=False)
    publish(made, ONE, public)
    repository = hub.model(NAME)
    assert set(repository.files) == {".gitattributes"}
    assert repository.private
    assert publish(made, ONE, public).proposal == f"{hub.endpoint}/{NAME}/discussions/1"
    merge(hub, 1)
    # Who merged it says who sees it.
    assert publish(made, ONE, public).proposal is None
    assert repository.private


def test_one_that_somebody_closed_is_not_opened_again_unless_forced(hub: Hub, made: dict[str, Path]) -> None:
    publish(made, ONE)
    repository = hub.model(NAME)
    repository.discussions[0].status = "closed"
    with pytest.raises(PublishError, match=r"was closed: http://.*/discussions/1"):
        publish(made, ONE)
    assert publish(made, TWO).proposal == f"{hub.endpoint}/{NAME}/discussions/2"
    assert publish(made, ONE, force=True).proposal == f"{hub.endpoint}/{NAME}/discussions/3"


def test_a_strangers_title_is_no_checkpoint(hub: Hub, made: dict[str, Path]) -> None:
    publish(made, ONE, COMMITS)
    title = f"Quantize tiny [{TWO[:12]}]"
    HfApi(endpoint=hub.endpoint, token=TOKEN).create_pull_request(NAME, title=title, description="")
    assert publish(made, TWO).proposal == f"{hub.endpoint}/{NAME}/discussions/2"
    assert proposed(hub.model(NAME), 2) == content(made[TWO])


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("update", [True, False])
def test_whatever_fails_there_is_one_good_pull_request_in_the_end(
    monkeypatch: pytest.MonkeyPatch, made: dict[str, Path], fault: str, update: bool
) -> None:
    wait_for_nothing(monkeypatch)

    def prepare(hub: Hub) -> int:
        if update:
            publish(made, ONE, COMMITS)
        return len(hub.requests)

    with met(monkeypatch) as hub:
        after = prepare(hub)
        publish(made, TWO)
        planned = steps(hub, after=after)
    for step in planned:
        if not step.fits(fault):
            continue
        with met(monkeypatch) as hub:
            prepare(hub)
            before = hub.model(NAME).head if update else None
            injected = step.break_it(hub, fault, lasting=False)
            first = publish(made, TWO)
            assert injected.times == 0, step
            repository = hub.model(NAME)
            assert publish(made, TWO) == first
            assert len(repository.discussions) == 1
            assert proposed(repository, 1) == content(made[TWO])
            assert repository.head == (before or repository.head)
            assert len(repository.titles) == 1 + update


def test_a_run_says_where_it_waits_and_the_next_one_does_not_build_it_again(
    hub: Hub, tmp_path: Path, calibration_text: Path
) -> None:
    manifest = fleet(hub, tmp_path, models=1, cells=2, publish={"pull_request": True})
    tiny = save_tiny_model(tmp_path / "tiny", calibration_text)
    hub.model("meta/base-0").add_files({path.name: path.read_bytes() for path in tiny.iterdir()})
    name = "acme/base-0-kept-0"

    def run(output: str) -> dict[str, Any]:
        only = ("--only", "base-0-kept-0")
        done = command("run", manifest, "--output", output, *only, **words(hub, tmp_path))
        assert done.returncode == 0, done.stderr
        (cell,) = report(tmp_path / output).values()
        return cell

    page = f"{hub.endpoint}/{name}/discussions/1"
    first = run("one")
    assert (first["status"], first["error"], first["url"]) == ("built", None, page)
    assert first["commit"] == hub.model(name).refs["refs/pr/1"]
    # Another runner: nothing but the Hub remembers.
    second = run("two")
    assert (second["status"], second["url"], second["path"]) == ("skipped", page, None)
    assert second["notes"] == [f"it waits in a pull request: {page}"]
    hub.model(name).discussions[0].status = "closed"
    plan = command("plan", manifest, "--format", "json", **words(hub, tmp_path))
    changes = {cell["id"]: cell["change"] for job in json.loads(plan.stdout)["jobs"] for cell in job["cells"]}
    assert changes["base-0-kept-0"]["reasons"] == ["rejected"]
    assert "its pull request was closed" in changes["base-0-kept-0"]["text"]
    assert changes["base-0-awq-4bit"]["reasons"] == ["new"]
    assert len(hub.model(name).discussions) == 1
