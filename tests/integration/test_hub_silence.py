"""A connection that is open and says nothing is given up on: the Hub's client itself would wait for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quantize_lib.calibration.datasets import dataset_commit
from quantize_lib.hub import time_limits
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Origin
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.source import resolve
from quantize_lib.source.facts import Terms
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.watch import find_models
from quantize_lib.source.watch_rule import WatchRule
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub
from tests.support.hub.patience import wait_for_nothing
from tests.support.publications import NAME, ONE, TWO, checkpoint, met

LIMIT, SILENCE = 1.0, 12.0
ORIGIN = Origin(model="base/Tiny", revision="0123456789ab" + "c" * 28, terms=Terms(gated="auto"))
OF_PUBLISHING = [
    "repo_info",
    "create_repo",
    "list_tree",
    "list_refs",
    "preupload",
    "lfs_batch",
    "put_object",
    "lfs_verify",
    "create_commit",
    "get_file",
    "update_settings",
    "delete_tag",
    "create_tag",
    "create_collection",
    "add_collection_item",
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    wait_for_nothing(monkeypatch)
    for name in ("CONNECT_SECONDS", "READ_SECONDS", "WRITE_SECONDS"):
        monkeypatch.setattr(time_limits, name, LIMIT)
    with met(monkeypatch) as server:
        yield server


def publisher() -> HubPublisher:
    spec = publish_spec("hub", namespace="acme", private=False, tag=True, collection="{model}")
    return HubPublisher(spec, retry=Retry(attempts=3, sleep=lambda _: None))


@contextmanager
def given_up(hub: Hub, route: str) -> Iterator[None]:
    """The first answer of a route comes too late, and is not waited for."""
    hub.fail("slow", route=route, seconds=SILENCE)
    yield
    # Whoever waits asks but once.
    assert len(hub.asked(route)) > 1


@pytest.mark.parametrize("route", OF_PUBLISHING)
def test_a_publication_goes_on_after_each_answer_that_does_not_come(
    hub: Hub, tmp_path: Path, route: str
) -> None:
    folder = checkpoint(tmp_path / "one", ONE)
    with given_up(hub, route):
        done = publisher().publish(folder, NAME, fingerprint=ONE, message="m", origin=ORIGIN)
    assert done.commit == hub.model(NAME).head
    assert hub.model(NAME).files["config.json"] == (folder / "config.json").read_bytes()


def test_a_rollback_goes_on_where_the_history_does_not_come(hub: Hub, tmp_path: Path) -> None:
    for fingerprint in (ONE, TWO):
        folder = checkpoint(tmp_path / fingerprint, fingerprint)
        publisher().publish(folder, NAME, fingerprint=fingerprint, message="m", origin=ORIGIN)
    with given_up(hub, "list_commits"):
        done = publisher().rollback(NAME)
    assert done.commit == hub.model(NAME).head


@pytest.mark.parametrize("route", ["auth_check", "whoami"])
def test_the_question_whether_a_token_may_write_is_asked_again(hub: Hub, route: str) -> None:
    with given_up(hub, route):
        publisher().check([NAME])


def test_models_and_data_sets_are_asked_for_again(hub: Hub) -> None:
    model = hub.add_model("base/tiny", {"config.json": b"{}"})
    with given_up(hub, "repo_info"):
        spec = ModelSpec(id="base/tiny", name="tiny", revision="main")
        assert resolve(spec, token=None).revision == model.head
    data = hub.add_dataset("base/news", {"train.jsonl": b""})
    with given_up(hub, "repo_info"):
        assert dataset_commit("base/news", "main", token=None) == data.head


def test_an_organization_is_asked_for_again(hub: Hub) -> None:
    hub.add_model("base/tiny", {"model.safetensors": b"x"})
    with given_up(hub, "list_repos"):
        assert find_models(WatchRule(organization="base")) == ("base/tiny",)
