"""Fixtures of the tests that need a Docker engine: the engine, the real image, and images that misbehave."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import CANARY

if TYPE_CHECKING:
    from docker import DockerClient

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "model-quantizer:test"
ONE_BUILD = Path(tempfile.gettempdir()) / "model-quantizer-image.lock"
"""Of tests that run side by side one builds the image; the others find all of its steps done."""


@pytest.fixture(scope="session")
def engine() -> DockerClient:
    """The Docker engine; tests/conftest.py sees to it that one answers, or that CI fails."""
    import docker

    return docker.from_env(timeout=300)


@pytest.fixture(scope="session")
def base_image(engine: DockerClient) -> str:
    """The base of our images: the pinned one, or where it cannot be pulled the stand-in."""
    command = [str(ROOT / "tools" / "docker_engine.sh")]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    name = said.removeprefix("BASE=") or pinned_base()
    engine.images.get(name)
    return name


def pinned_base() -> str:
    """The Dockerfile's own base."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("ARG BASE=") for line in lines if line.startswith("ARG BASE="))


@contextmanager
def served(folder: str) -> Iterator[str]:
    """A folder on the loopback address, for a build on the host's network."""
    handler = partial(_Quiet, directory=folder)
    # Always the same port where it is free: the address is a part of the build's cache.
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 18765), handler)
    except OSError:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def image(base_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image that the real Dockerfile builds, from a checkout that is full of secrets."""
    context = tmp_path_factory.mktemp("context")
    for name in ("quantize_lib", "schemas", "requirements"):
        shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("entrypoint.py", "Dockerfile", ".dockerignore", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, context / name)
    for name in (".env", ".netrc", ".git/config", "token", "quantize_lib/.env", "output/log.txt"):
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_text(f"HF_TOKEN={CANARY}\n", encoding="utf-8")
    with ONE_BUILD.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _build(context, base_image)
    return IMAGE


def _build(context: Path, base_image: str) -> None:
    words = ["docker", "build", "--tag", IMAGE, "--build-arg", f"BASE={base_image}"]
    environment = {**os.environ, "HF_TOKEN": CANARY}
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    if base_image == pinned_base():
        subprocess.run([*words, str(context)], env=environment, check=True)
        return
    # A machine without the public registries: see tools/docker_engine.sh.
    environment["DOCKER_BUILDKIT"] = "0"
    words += ["--network", "host", "--build-arg", "EXTRA_INDEX="]
    with served(wheels or str(context / "schemas")) as page:
        subprocess.run(
            [*words, "--build-arg", f"PIP_FIND_LINKS={page}", str(context)], env=environment, check=True
        )


@pytest.fixture(scope="session")
def stub(engine: DockerClient, base_image: str) -> Iterator[Callable[[str], str]]:
    """Makes an image whose entry point is a piece of Python, in place of the worker."""
    made: set[str] = set()

    def make(code: str) -> str:
        # Of this session alone: another one may run beside it.
        name = f"model-quantizer-stub:{hashlib.sha256(code.encode()).hexdigest()[:12]}-{os.getpid()}"
        entrypoint = json.dumps(["python3", "-c", code])
        dockerfile = f"FROM {base_image}\nENTRYPOINT {entrypoint}\n"
        engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=name, rm=True)
        made.add(name)
        return name

    yield make
    for name in made:
        engine.images.remove(name, force=True)
