"""Canary tokens: whatever is said, written, sent and kept is searched for them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import yaml
from docker.errors import NotFound

from tests.support.containers import containers
from tests.support.hub import Hub, serve
from tests.support.small_runs import SEQUENCE, command, environment, report, save_tiny_model

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from docker import DockerClient

READ = "hf_Canary+Reads/Only+aaaabbbbccccdddd"
WRITE = "hf_Canary+Writes/Only+eeeeffffgggghhhh"
STATE = "hf_Canary+Keeps/Only+iiiijjjjkkkkllll"
CELL = "tiny-gptq-4bit"
REPOSITORY = f"acme/{CELL}"
WRITES = {
    *("create_repo", "preupload", "lfs_batch", "lfs_verify", "create_commit"),
    *("create_tag", "delete_tag", "update_settings", "validate_yaml"),
}
"""What the server answers where something is changed."""

WATCHER = """
import json, logging, os, sys
logging.basicConfig(level=logging.{level})
with open(os.path.join({folder!r}, f"{{os.getpid()}}.json"), "w") as file:
    json.dump({{"words": sys.orig_argv, "environment": dict(os.environ)}}, file)
"""
"""Every Python process begins with it: it tells its environment, and lets all libraries log what they can."""

VERBOSE = {
    "HF_DEBUG": "1",
    "HF_HUB_VERBOSITY": "debug",
    "DATASETS_VERBOSITY": "debug",
    "TRANSFORMERS_VERBOSITY": "debug",
    "ACTIONS_STEP_DEBUG": "true",
    "RUNNER_DEBUG": "1",
}


def forms(token: str) -> set[bytes]:
    """A token as it is, in an address, and inside base64 at any place."""
    raw = token.encode()
    found = {raw, quote(token, safe="").encode(), json.dumps(token).strip('"').encode(), raw.hex().encode()}
    for before in range(3):
        # The characters that what stands before or behind would change are left out.
        encoded = base64.b64encode(b"x" * before + raw).rstrip(b"=")[-(-before * 8 // 6) : -1]
        found |= {encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def holds(text: bytes | str, tokens: set[str]) -> set[str]:
    """Which tokens stand in a text, in whatever form."""
    data = text if isinstance(text, bytes) else text.encode()
    return {token for token in tokens if any(form in data for form in forms(token))}


def files_with(folder: Path, tokens: set[str]) -> dict[str, set[str]]:
    """The files whose content or name holds a token."""
    found = {
        str(path.relative_to(folder)): holds(
            bytes(path) + (path.read_bytes() if path.is_file() else b""), tokens
        )
        for path in folder.rglob("*")
    }
    return {name: kept for name, kept in found.items() if kept}


@dataclass(kw_only=True)
class World:
    """A Hub with a private base and data set, and a folder in which the tool works.

    Attributes:
        folder: everything that a run may leave: work, caches, temporary files.
        watched: what the processes told of themselves; outside of `folder`.
        said: all that was printed.
    """

    hub: Hub
    folder: Path
    watched: Path
    said: str = ""

    def call(self, *words: str, level: str = "DEBUG", **more: str) -> int:
        """Run the tool as loudly as it goes."""
        (self.watched / "sitecustomize.py").write_text(
            WATCHER.format(level=level, folder=str(self.watched)), encoding="utf-8"
        )
        env = environment(
            **VERBOSE,
            **self.hub.environment(self.folder / "hf"),
            HF_TOKEN_READ=READ,
            PYTHONPATH=str(self.watched),
            TMPDIR=str(self.folder / "tmp"),
            GITHUB_STEP_SUMMARY=str(self.folder / "summary.md"),
            GITHUB_OUTPUT=str(self.folder / "outputs"),
        )
        done = command(*words, cwd=self.folder / "work", env={**env, **more})
        self.said += done.stdout + done.stderr
        return done.returncode

    def processes(self) -> list[dict[str, Any]]:
        """Words and environment of every Python process."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in self.watched.glob("*.json")]

    def tokens(self) -> set[str]:
        """All that may open a door: given, traded, and what was traded for them."""
        traded = [request.json()["subject_token"] for request in self.hub.asked("exchange_token")]
        return {*self.hub.tokens, *traded, self.hub.job_secret}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> dict[str, bytes]:
    """The files of a tiny model."""
    folder = save_tiny_model(tmp_path_factory.mktemp("tokens") / "tiny", calibration_text)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


Make = Callable[[], World]


@pytest.fixture
def make(
    base: dict[str, bytes], calibration_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Make]:
    """Makes a world."""
    with serve(Hub()) as hub:

        def world() -> World:
            hub.add_token(READ, "reader", "read")
            hub.add_token(WRITE, "acme")
            hub.add_token(STATE, "keeper")
            hub.add_organization("base", readers=("reader",))
            hub.add_model("base/tiny", base, private=True)
            hub.add_dataset("base/news", {"train.jsonl": calibration_text.read_bytes()}, private=True)
            folder, watched = tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("watched")
            for name in ("work", "tmp"):
                (folder / name).mkdir()
            text = {"dataset": "base/news", "samples": 8, "sequence_length": SEQUENCE}
            document = {
                "version": 1,
                "defaults": {"calibration": text},
                "models": [{"id": "base/tiny", "quantize": [{"method": "gptq", "bits": 4}]}],
                "publish": {"to": "hub", "namespace": "acme", "private": True},
            }
            (folder / "work" / "quantize.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
            return World(hub=hub, folder=folder, watched=watched)

        yield world


def check(world: World) -> None:
    """No token anywhere but in the Authorization header of the requests that it is for."""
    tokens = world.tokens()
    assert holds(world.said, tokens) == set()
    assert files_with(world.folder, tokens) == {}
    for request in world.hub.requests:
        headers = {name: text for name, text in request.headers.items() if name != "authorization"}
        body = b"" if request.route == "exchange_token" else request.body
        assert holds(request.target.encode() + json.dumps(headers).encode() + body, tokens) == set(), request
        shown = request.headers.get("authorization", "")
        if request.site == "storage":
            assert shown == ""
        if request.route in WRITES:
            assert READ not in shown, request
        if "/base/" in request.path:
            assert shown in ("", f"Bearer {READ}"), request
        if "/keeper/" in request.path:
            assert shown in ("", f"Bearer {STATE}"), request
        elif STATE in shown:
            assert request.route == "create_repo", request
    for process in world.processes():
        inherited = holds(json.dumps(process), tokens)
        if "entrypoint.py" in " ".join(process["words"]):
            assert READ in inherited
        else:
            assert inherited == set(), process["words"]


def used(world: World, token: str) -> set[str]:
    """What a token was shown for."""
    return {
        request.route
        for request in world.hub.requests
        if request.headers.get("authorization") == f"Bearer {token}"
    }


def test_a_run_keeps_its_tokens_to_itself(make: Make) -> None:
    world = make()
    with (world.folder / "work" / "quantize.yml").open("a", encoding="utf-8") as file:
        file.write("state: {in: hub, repository: keeper/state}\n")
    assert world.call("run", "quantize.yml", HF_TOKEN_WRITE=WRITE, HF_TOKEN_STATE=STATE) == 0, world.said
    assert report(world.folder / "work" / "output")[CELL]["status"] == "published"
    assert {"repo_info", "get_file"} <= used(world, READ)
    assert {"create_repo", "preupload", "lfs_batch", "create_commit"} <= used(world, WRITE)
    assert {"create_repo", "create_branch", "create_commit", "delete_branch"} <= used(world, STATE)
    assert any("job" in process["words"] for process in world.processes())
    # The libraries did talk, and a token in a file is found.
    assert "Send: curl" in world.said
    (world.folder / "found").write_bytes(base64.b64encode(f"Bearer {READ}".encode()))
    assert files_with(world.folder, {READ}) == {"found": {READ}}
    (world.folder / "found").unlink()
    check(world)


def test_a_traded_token_is_kept_in_memory_alone(make: Make) -> None:
    world = make()
    claims = {"repository": "acme/ci", "ref": "refs/heads/main"}
    world.hub.add_model(REPOSITORY, private=True).publishers = [claims]
    assert world.call("run", "quantize.yml", **world.hub.job(**claims)) == 0, world.said
    assert report(world.folder / "work" / "output")[CELL]["status"] == "published"
    (traded,) = (value for value, token in world.hub.tokens.items() if token.job)
    assert {"preupload", "lfs_batch", "create_commit"} <= used(world, traded)
    assert used(world, traded).isdisjoint({"create_repo", "update_settings"})
    check(world)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_error_that_quotes_the_token_is_told_without_it(make: Make, status: int) -> None:
    world = make()
    for route in ("repo_info", "get_file"):
        fault = world.hub.fail("status", route=route, times=None, status=status, quotes=True)
        assert world.call("run", "quantize.yml", level="INFO", HF_TOKEN_WRITE=WRITE) == 3, world.said
        fault.times = 0
    check(world)


def test_an_error_while_publishing_that_quotes_the_token_is_told_without_it(make: Make) -> None:
    world = make()
    claims = {"repository": "acme/ci"}
    assert world.call("run", "quantize.yml", "--no-publish", HF_TOKEN_WRITE=WRITE) == 0, world.said
    statuses = {
        "repo_info": (403,),
        "create_repo": (400, 403),
        "preupload": (403,),
        "lfs_batch": (403,),
        "create_commit": (401, 403),
    }
    for route, status in ((route, status) for route, several in statuses.items() for status in several):
        fault = world.hub.fail("status", route=route, times=None, status=status, quotes=True)
        assert world.call("publish", "output", level="INFO", HF_TOKEN_WRITE=WRITE) == 5, world.said
        fault.times = 0
    fault = world.hub.fail("status", route="exchange_token", times=None, status=400, quotes=True)
    assert world.call("publish", "output", level="INFO", **world.hub.job(**claims)) == 5, world.said
    assert "Injected 403 for Bearer [token]" in world.said
    check(world)


@pytest.mark.docker
def test_a_container_sees_no_token(engine: DockerClient, image: str, make: Make) -> None:
    world = make()
    seen: dict[str, str] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            for name in containers(engine, world.folder):
                with suppress(NotFound):
                    seen[name] = json.dumps(engine.api.inspect_container(name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        words = ("run", "quantize.yml", "--executor", "docker", "--image", image)
        assert world.call(*words, HF_TOKEN_WRITE=WRITE) == 0, world.said
    finally:
        done.set()
        watcher.join()
    assert report(world.folder / "work" / "output")[CELL]["status"] == "published"
    (inspected,) = seen.values()
    assert "/job" in inspected
    assert holds(inspected, world.tokens()) == set()
    check(world)
