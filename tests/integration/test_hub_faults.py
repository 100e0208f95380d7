"""Every request of a publication fails in turn, in every way, and then it is run again."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from quantize_lib.errors import PublishError
from quantize_lib.files import sha256_file, write_json
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import OPEN, Origin, Published
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.source.facts import Terms
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub, serve_here
from tests.support.hub.matrix import FAULTS, Step, steps
from tests.support.hub.patience import wait_for_nothing
from tests.support.hub.store import Blob
from tests.support.small_runs import ROOT, environment

NAME = "acme/tiny-gptq-4bit"
TOKEN = "hf_" + "w" * 34
OLD, NEW = "a1" * 32, "b2" * 32
HAND_MADE = {"picture.png": b"\x89PNG", ".gitattributes": b"*.safetensors filter=lfs\n"}
MOST_ATTEMPTS = 6
"""Of one request; the client's own limit (http_backoff) and the publisher's are the same."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is published, and over what."""

    private: bool
    update: bool
    options: bool = False


ORIGIN = Origin(model="base/Tiny", revision="0123456789ab" + "c" * 28, terms=Terms(gated="auto"))
TAG = "refs/tags/base-0123456789ab"
CASES = {
    "new and private": Case(private=True, update=False),
    "new and public": Case(private=False, update=False),
    "an update": Case(private=False, update=True),
    "gated, tagged and collected": Case(private=False, update=False, options=True),
}


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited for nothing: nobody sleeps here, neither the client nor we."""
    monkeypatch.setenv("HF_TOKEN_WRITE", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HF_TOKEN", "HF_TOKEN_READ"):
        monkeypatch.delenv(name, raising=False)
    return wait_for_nothing(monkeypatch)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An older version in two shards, a newer one in one."""
    return {
        name: checkpoint(tmp_path_factory.mktemp("checkpoint") / name, name, shards)
        for name, shards in ((OLD, 2), (NEW, 1))
    }


def checkpoint(folder: Path, fingerprint: str, shards: int) -> Path:
    folder.mkdir()
    write_json(folder / "config.json", {"made": fingerprint})
    for number in range(1, shards + 1):
        (folder / f"model-{number}-of-{shards}.safetensors").write_bytes(fingerprint.encode() * 100 * number)
    (folder / "README.md").write_text(
        f"---\nlicense: mit\nmodel_quantizer:\n  fingerprint: {fingerprint}\n  version: 0.1.0\n---\n# Tiny\n",
        encoding="utf-8",
    )
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    write_json(folder / RECORD_FILE, {"fingerprint": fingerprint, "files": files})
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Scene:
    """A Hub as it is before a publication, and the publication."""

    def __init__(self, hub: Hub, case: Case, checkpoints: Mapping[str, Path]) -> None:
        self.hub, self.case = hub, case
        self.new = content(checkpoints[NEW])
        self.old: dict[str, bytes] = {}
        self._checkpoint = checkpoints[NEW]
        hub.add_token(TOKEN, "acme")
        if case.update:
            self.old = {**content(checkpoints[OLD]), **HAND_MADE}
            self.new |= HAND_MADE
            hub.add_model(NAME, self.old)
        self.titles = hub.model(NAME).titles if case.update else ["initial commit"]

    def publish(self) -> Published:
        spec = publish_spec(
            "hub",
            namespace="acme",
            private=self.case.private,
            tag=self.case.options,
            collection="{model} quantized" if self.case.options else None,
        )
        publisher = HubPublisher(spec, retry=Retry(attempts=MOST_ATTEMPTS, sleep=time.sleep))
        origin = ORIGIN if self.case.options else OPEN
        return publisher.publish(
            self._checkpoint, NAME, fingerprint=NEW, message="Quantize tiny", origin=origin
        )

    def attempt(self) -> tuple[Published | None, str]:
        """Publish; or what the user is told."""
        try:
            return self.publish(), ""
        except PublishError as error:
            return None, f"{error.message} {error.hint}"

    def check(self, done: Published, *, alone: bool = True) -> None:
        """One good commit, nothing lost, nothing doubled, and never a half state in sight."""
        repository = self.hub.model(NAME)
        visible = [self._shown(repository.commits[state.commit].files) for state in repository.history]
        assert done.commit == repository.head
        assert visible[-1] == "new"
        assert visible == sorted(visible, key=["empty", "old", "new"].index)
        assert repository.titles == ["Quantize tiny", *self.titles]
        assert repository.private is self.case.private
        if not self.case.update:
            assert all(
                state.private
                for state, seen in zip(repository.history, visible, strict=True)
                if seen != "new"
            )
        more = {TAG: repository.head} if self.case.options else {}
        assert repository.refs == {"refs/heads/main": repository.head, **more}
        if self.case.options:
            assert all(state.private or state.gated for state in repository.history)
            (collection,) = self.hub.collections.values()
            assert [item["id"] for item in collection.items] == [NAME]
        assert list(self.hub.repositories) == [f"models/{NAME}"]
        if alone:
            self._check_uploads()

    def _check_uploads(self) -> None:
        arrived: set[str] = set()
        for request in self.hub.requests:
            if request.route == "put_object":
                assert request.path.rpartition("/")[2] not in arrived, "what the Hub has was sent again"
            if request.route == "lfs_verify" and request.status == 200:
                arrived.add(request.json()["oid"])

    def _shown(self, files: Mapping[str, Blob]) -> str:
        data = {name: blob.data for name, blob in files.items()}
        if data == self.old:
            return "old"
        mine = {name: text for name, text in data.items() if name != ".gitattributes" or self.case.update}
        if mine == self.new:
            return "new"
        assert not mine, f"a half state was visible: {sorted(mine)}"
        return "empty"


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def planned(case: Case, checkpoints: Mapping[str, Path]) -> list[Step]:
    """The requests of an undisturbed publication."""
    with serve_here(Hub()) as hub:
        scene = Scene(hub, case, checkpoints)
        scene.check(scene.publish())
        return steps(hub)


def test_nobody_but_the_client_and_our_retries_is_kept_from_sleeping(waits: list[float]) -> None:
    """A library's thread that woke without end filled the machine's memory, and a whole run with it."""
    time.sleep(0.001)
    assert waits == []


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("fault", list(FAULTS))
def test_whatever_fails_the_next_run_ends_with_one_good_commit(
    case: Case, fault: str, lasting: bool, checkpoints: dict[str, Path]
) -> None:
    for step in planned(case, checkpoints):
        if not step.fits(fault):
            continue
        with serve_here(Hub()) as hub:
            scene = Scene(hub, case, checkpoints)
            injected = step.break_it(hub, fault, lasting=lasting)
            first, said = scene.attempt()
            injected.times = 0
            hit = sum(request.fault is not None for request in hub.requests)
            if lasting:
                assert 1 <= hit <= MOST_ATTEMPTS, f"{step} was asked {hit} times"
            else:
                assert hit == 1
                assert first is not None, f"{step} was not tried again: {said}"
            last = scene.publish()
            assert first in (None, last)
            scene.check(last)


@pytest.mark.parametrize("status", [503, 429])
def test_what_fails_for_good_is_waited_for_longer_and_longer_and_then_told(
    case: Case, status: int, checkpoints: dict[str, Path], waits: list[float]
) -> None:
    for step in planned(case, checkpoints):
        with serve_here(Hub()) as hub:
            scene = Scene(hub, case, checkpoints)
            hub.fail("status", route=step.route, skip=step.number, times=None, status=status)
            waits.clear()
            done, said = scene.attempt()
            assert done is None
            assert f"{NAME}: the Hub answered {status}" in said
            assert "Run it again later" in said
            assert len(waits) == MOST_ATTEMPTS - 1, step
            assert waits[0] <= 1
            assert waits[-1] > 4


EXPLAINED = {
    401: "wrong, expired or revoked",
    403: "needs the role `write`",
    404: "removed or renamed",
    409: "at the same time",
    412: "at the same time",
}
EXISTS = {"create_repo", "create_tag", "create_collection", "add_collection_item"}
"""What answers 409 where something is there already, which is no error."""


@pytest.mark.parametrize("status", list(EXPLAINED))
def test_what_needs_somebody_to_act_is_asked_once_and_explained(
    case: Case, status: int, checkpoints: dict[str, Path], waits: list[float]
) -> None:
    for step in planned(case, checkpoints):
        if status == 409 and step.route in EXISTS:
            continue
        with serve_here(Hub()) as hub:
            scene = Scene(hub, case, checkpoints)
            hub.fail("status", route=step.route, skip=step.number, times=None, status=status)
            done, said = scene.attempt()
            assert done is None
            assert f"{NAME}: the Hub answered {status}" in said
            stored = step.route == "put_object" and status in (401, 403)
            assert ("the storage that it names" if stored else EXPLAINED[status]) in said
            # A commit that came too late (the client checks the card just before) is planned anew, thrice.
            late = status in (409, 412) and step.route in ("create_commit", "validate_yaml")
            assert sum(request.fault is not None for request in hub.requests) == (3 if late else 1)
            assert waits == []


def test_of_two_publishers_one_wins_and_the_other_follows(case: Case, checkpoints: dict[str, Path]) -> None:
    """Both publish the same at once: whoever is late finds the other one's commit."""
    for _ in range(5):
        with serve_here(Hub()) as hub:
            scene = Scene(hub, case, checkpoints)
            with ThreadPoolExecutor(2) as pool:
                one, two = (future.result() for future in [pool.submit(scene.publish) for _ in range(2)])
            assert one == two
            scene.check(one, alone=False)


PUBLISH = """
import sys
from pathlib import Path
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.source.facts import Terms
from quantize_lib.targets import publish_spec
folder, name, fingerprint = sys.argv[1:]
publisher = HubPublisher(publish_spec("hub", namespace="acme", private=False))
publisher.publish(Path(folder), name, fingerprint=fingerprint, message="Quantize tiny")
"""


def test_a_publisher_that_is_killed_leaves_nothing_that_the_next_one_cannot_finish(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    case = CASES["new and public"]
    for step in planned(case, checkpoints):
        with serve_here(Hub()) as hub:
            scene = Scene(hub, case, checkpoints)
            hub.fail("slow", route=step.route, skip=step.number, seconds=0.3)
            process = subprocess.Popen(
                [sys.executable, "-c", PUBLISH, checkpoints[NEW], NAME, NEW],
                env={
                    **environment(),
                    **hub.environment(tmp_path),
                    "HF_TOKEN_WRITE": TOKEN,
                    "PYTHONPATH": str(ROOT),
                },
            )
            while process.poll() is None and not any(request.fault for request in hub.requests):
                threading.Event().wait(0.01)
            process.kill()
            process.wait()
            # What was asked for last comes true all the same, unless it was killed while it still sent.
            (last,) = (request for request in hub.requests if request.fault)
            while not last.over:
                threading.Event().wait(0.01)
            scene.check(scene.publish())
