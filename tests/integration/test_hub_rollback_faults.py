"""Every request of a rollback fails in turn, in every way."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.errors import PublishError
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Published
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub, serve_here
from tests.support.hub.matrix import FAULTS, Step, steps
from tests.support.hub.patience import wait_for_nothing
from tests.support.publications import NAME, ONE, THREE, TOKEN, TWO, checkpoint


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_nothing(monkeypatch)
    monkeypatch.setenv("HF_TOKEN_WRITE", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: checkpoint(folder / name, name, {f"{name[:2]}.txt": name}) for name in (ONE, TWO, THREE)}


def published(hub: Hub, checkpoints: dict[str, Path]) -> HubPublisher:
    """Three publications, one after the other."""
    hub.add_token(TOKEN, "acme")
    publisher = HubPublisher(
        publish_spec("hub", namespace="acme"), retry=Retry(attempts=6, sleep=lambda _: None)
    )
    for fingerprint, folder in checkpoints.items():
        publisher.publish(folder, NAME, fingerprint=fingerprint, message=fingerprint[:2])
    return publisher


def attempt(publisher: HubPublisher) -> tuple[Published | None, str]:
    try:
        return publisher.rollback(NAME), ""
    except PublishError as error:
        return None, f"{error.message} {error.hint}"


def planned(checkpoints: dict[str, Path]) -> list[Step]:
    with serve_here(Hub()) as hub:
        publisher = published(hub, checkpoints)
        before = len(hub.requests)
        publisher.rollback(NAME)
        return steps(hub, after=before)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_rollback_happens_once_or_says_that_it_happened(
    fault: str, lasting: bool, checkpoints: dict[str, Path]
) -> None:
    for step in planned(checkpoints):
        if not step.fits(fault):
            continue
        with serve_here(Hub()) as hub:
            publisher = published(hub, checkpoints)
            repository = hub.model(NAME)
            bad, before = repository.head, len(repository.history)
            injected = step.break_it(hub, fault, lasting=lasting)
            done, said = attempt(publisher)
            injected.times = 0
            if not lasting:
                assert done is not None, f"{step} was not tried again: {said}"
            if repository.head == bad:
                assert done is None
                done = publisher.rollback(NAME)
            elif done is None:
                # Once more would go back one further: the user has to know.
                assert repository.head in said
                assert "again would go back further" in said
            assert len(repository.history) == before + 1
            state = publisher.current(NAME)
            assert state is not None
            assert (state.fingerprint, state.rejected) == (TWO, (THREE,))
            assert repository.files["b2.txt"] == TWO.encode()
            assert "c3.txt" not in repository.files
