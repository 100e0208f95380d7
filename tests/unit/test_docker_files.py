"""The two Dockerfiles and what goes into an image, without building one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.lock_files import read_pins

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("Dockerfile", "Dockerfile.cuda")
DIFFERENT = (
    "ARG EXTRA_INDEX=",
    "requirements/c",
    "libbitsandbytes_",
    "description=",
    "NVIDIA_",
    "BYTECODE=1",
)
"""What may differ between the two: the lock file, where torch comes from, devices, the name."""


def instructions(name: str) -> list[str]:
    """A Dockerfile's lines without comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_both_have_one_shape() -> None:
    cpu, cuda = (
        [line for line in instructions(name) if not any(word in line for word in DIFFERENT)] for name in NAMES
    )
    assert cpu == cuda


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_pinned_by_digest_and_both_stages_take_it(name: str) -> None:
    lines = instructions(name)
    assert re.fullmatch(r"ARG BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", lines[0])
    assert [line for line in lines if line.startswith("FROM ")] == ["FROM ${BASE} AS build", "FROM ${BASE}"]


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_the_one_that_the_updater_of_dependencies_follows(name: str) -> None:
    (followed,) = instructions(".github/base-image/Dockerfile")
    assert followed.removeprefix("FROM ") == instructions(name)[0].removeprefix("ARG BASE=")


@pytest.mark.parametrize("name", NAMES)
def test_every_package_is_installed_by_hash(name: str) -> None:
    text = "\n".join(instructions(name))
    assert "install --quiet --require-hashes --no-build-isolation" in text
    assert set(re.findall(r"pip \w+", text)) == {"pip install", "pip uninstall"}
    for lock in re.findall(r"-r (requirements/\S+?\.txt)", text):
        assert all(pin.files for pin in read_pins((ROOT / lock).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", NAMES)
def test_the_last_stage_installs_nothing_and_runs_as_a_user(name: str) -> None:
    lines = instructions(name)
    last = lines[lines.index("FROM ${BASE}") :]
    assert not [line for line in last if line.startswith(("RUN", "ADD", "VOLUME"))]
    assert [line for line in last if line.startswith("USER")] == ["USER 1000:1000"]
    assert last[-1] == 'ENTRYPOINT ["python", "/opt/app/entrypoint.py"]'


def test_the_build_context_holds_only_what_is_named() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        word
        for name in NAMES
        for line in instructions(name)
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert named == copied
    assert all((ROOT / name).exists() for name in named)


def test_the_cpu_lock_holds_no_cuda_package() -> None:
    text = (ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8")
    assert not re.search(r"^(nvidia|cuda|triton|cupy)", text, flags=re.MULTILINE)
