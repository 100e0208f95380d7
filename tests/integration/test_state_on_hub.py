"""State in a repository on the Hub: what is refused, what is lost, and that storage does not grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from quantize_lib.errors import EngineError, UsageError
from quantize_lib.kept_state.hub import HubStore
from quantize_lib.kept_state.keeping import JobKeeper
from quantize_lib.state_stores import state_spec
from tests.support.hub import Hub
from tests.support.publications import TOKEN, met
from tests.support.states import CELL, JOB, Heard, tree, write_pass

REPOSITORY = "acme/state"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    # Where `hf auth login` would have left one.
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with met(monkeypatch) as found:
        yield found


def store() -> HubStore:
    return HubStore(state_spec("hub", repository=REPOSITORY))


def keeper(reporter: Heard, job: str = JOB) -> JobKeeper:
    return JobKeeper(
        store(), job, fingerprints={CELL: "ab"}, contained=False, estimate=10**6, reporter=reporter
    )


def send(one: JobKeeper, root: Path, block: int) -> None:
    """A job that failed after a block."""
    write_pass(root, block, shard=1000 * block)
    with pytest.raises(EngineError), one.following(root):
        raise EngineError("no")


def _public(hub: Hub) -> None:
    hub.add_model(REPOSITORY)


def _readable(hub: Hub) -> None:
    hub.add_model(REPOSITORY, private=True)
    hub.add_token(TOKEN, "acme", "read")


def _elsewhere(hub: Hub) -> None:
    hub.add_token(TOKEN, "somebody")


def _silent(hub: Hub) -> None:
    hub.fail("drop", times=None)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_public, "acme/state is public, and anybody could read unfinished work there"),
        (_readable, "acme/state: the Hub answered 403"),
        (_elsewhere, "acme/state: the Hub answered 403"),
        (_silent, "acme/state: the Hub cannot be reached"),
    ],
)
def test_a_repository_that_must_not_or_cannot_hold_state_is_refused(
    hub: Hub, damage: Callable[[Hub], None], words: str
) -> None:
    damage(hub)
    with pytest.raises(UsageError) as caught:
        store().check()
    assert caught.value.message.startswith(f"state: {words}")
    assert "--no-state" in str(caught.value) or "Make it private" in str(caught.value)


def test_without_a_token_nothing_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN_WRITE")
    with pytest.raises(UsageError, match="needs a token with write access, and there is none"):
        store().check()
    assert not hub.requests


def test_a_missing_repository_is_made_private_and_a_private_one_is_taken(hub: Hub) -> None:
    store().check()
    assert hub.model(REPOSITORY).private
    store().check()
    assert len(hub.asked("create_repo")) == 1


def test_neither_history_nor_storage_grows(hub: Hub, tmp_path: Path) -> None:
    store().check()
    reporter = Heard()
    one = keeper(reporter)
    for block in (1, 2, 3):
        send(one, tmp_path / "root", block)
        repository = hub.model(REPOSITORY)
        branch = repository.find(f"state-{JOB}")
        assert branch is not None
        assert len(repository.log(branch.id)) == 1
        assert set(repository.objects) == {blob.sha256 for blob in branch.files.values() if blob.lfs}
    assert not reporter.warnings


def test_where_the_hub_keeps_what_was_removed_that_is_told_and_state_is_kept(
    hub: Hub, tmp_path: Path
) -> None:
    store().check()
    reporter = Heard()
    fault = hub.fail("status", route="squash", status=403, times=None)
    one = keeper(reporter)
    for block in (1, 2):
        send(one, tmp_path / "root", block)
    (warning,) = reporter.warnings
    assert "what its older states took in acme/state on the Hugging Face Hub stays there: " in warning
    keeper(reporter).bring_back(tmp_path / "back")
    assert tree(tmp_path / "back") == tree(tmp_path / "root")
    # It goes as soon as that is possible again.
    fault.times = 0
    send(one, tmp_path / "root", 3)
    branch = hub.model(REPOSITORY).find(f"state-{JOB}")
    assert branch is not None
    assert len(hub.model(REPOSITORY).objects) == sum(blob.lfs for blob in branch.files.values())


def test_a_repository_that_is_lost_in_the_middle_is_told_and_the_job_goes_on(
    hub: Hub, tmp_path: Path
) -> None:
    store().check()
    reporter = Heard()
    one = keeper(reporter)
    send(one, tmp_path / "root", 1)
    del hub.repositories[f"models/{REPOSITORY}"]
    for block in (2, 3):
        send(one, tmp_path / "root", block)
    one.remove()
    first, last = reporter.warnings
    assert "its state cannot be kept in acme/state on the Hugging Face Hub: " in first
    assert "does not exist" in first
    assert "stays in acme/state" in last


def test_jobs_share_a_repository_and_one_that_is_done_leaves_the_other(hub: Hub, tmp_path: Path) -> None:
    store().check()
    reporter = Heard()
    one, other = keeper(reporter), keeper(reporter, "m..odd-cpu")
    # To the byte the same, as two jobs of a model have the same tokenizer.
    send(one, tmp_path / "one", 1)
    send(other, tmp_path / "other", 1)
    send(one, tmp_path / "one", 2)
    one.remove()
    keeper(reporter, "m..odd-cpu").bring_back(tmp_path / "back")
    assert tree(tmp_path / "back") == tree(tmp_path / "other")
    assert sorted(hub.model(REPOSITORY).refs) == ["refs/heads/main", "refs/heads/state-m-odd-cpu"]
    assert not reporter.warnings
