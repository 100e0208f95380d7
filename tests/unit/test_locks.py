"""The lock files pin everything by hash, agree with each other, and have a file for every machine."""

from __future__ import annotations

import itertools
import platform
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import bootstrap, lock
from tools.bootstrap import MACHINES, PYTHONS, BootstrapError, Machine
from tools.lock_files import HEADER, Pin, environment, read_pins, wheel_for

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
EVERYWHERE = list(itertools.product(MACHINES, PYTHONS))
LINUX, ARM, MACOS = MACHINES


def pins_of(name: str) -> list[Pin]:
    return read_pins((ROOT / "requirements" / name).read_text(encoding="utf-8"))


def pins(name: str, machine: Machine = LINUX, python: tuple[int, int] = (3, 11)) -> dict[str, str]:
    """Package → version, on a machine."""
    return {pin.package: pin.version for pin in pins_of(name) if pin.applies(machine, python)}


@contextmanager
def being(machine: Machine, python: tuple[int, int] = (3, 11)) -> Iterator[None]:
    """Let bootstrap find itself on a machine."""
    release = f"{python[0]}.{python[1]}.0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "machine", lambda: machine.architecture)
        patch.setattr(platform, "system", lambda: machine.system)
        patch.setattr(platform, "python_version", lambda: release)
        patch.setattr(bootstrap, "sys", SimpleNamespace(version_info=(*python, 0), executable="python3"))
        yield


def names(requirements: list[str], machine: Machine, python: tuple[int, int]) -> set[str]:
    """The packages' names as lock files write them, of what is asked for on a machine."""
    here = environment(machine, python)
    found = map(Requirement, requirements)
    return {canonicalize_name(one.name) for one in found if one.marker is None or one.marker.evaluate(here)}


def test_there_are_lock_files_for_every_use() -> None:
    assert [path.stem for path in FILES] == [
        "build",
        "core",
        "cpu",
        "cuda",
        "demo",
        "dev",
        "gptqmodel",
        "tasks",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_lock_file_holds_pins_with_hashes_and_nothing_else(path: Path) -> None:
    for pin in pins_of(path.name):
        assert pin.files
        assert len(set(pin.files.values())) == len(pin.files)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_machine_and_python_finds_a_file_of_each_package(path: Path) -> None:
    for pin in pins_of(path.name):
        places = [place for place in EVERYWHERE if pin.applies(*place)]
        if path.name == "cuda.txt":
            places = [(machine, python) for machine, python in places if machine.cuda]
        assert places, pin.name
        wheels = {name for name in pin.files if name.endswith(".whl")}
        # What has no wheel at all is built from its one source package, everywhere.
        assert wheels == set(pin.files) or (not wheels and len(pin.files) == 1), pin.name
        if wheels:
            assert {wheel_for(wheels, *place) for place in places} == wheels, pin.name


def test_every_file_is_of_the_release_that_its_pin_names() -> None:
    for path in FILES:
        for pin in pins_of(path.name):
            stem = re.escape(pin.package).replace(r"\-", "[-_.]")
            version = re.escape(pin.version)
            for name in pin.files:
                assert re.match(rf"{stem}-{version}(\+cpu)?[-.]", name, re.IGNORECASE), name


@pytest.mark.parametrize(("machine", "python"), EVERYWHERE, ids=str)
def test_lock_files_agree_with_each_other_on_every_machine(machine: Machine, python: tuple[int, int]) -> None:
    known = pins("cpu.txt", machine, python)
    for path in FILES:
        for package, version in pins(path.name, machine, python).items():
            assert known.get(package, version) == version, f"{path.name}: {package}"


def test_the_cpu_lock_takes_no_cuda_build_and_the_cuda_lock_no_cpu_build() -> None:
    (cpu,), (cuda,) = (
        [pin for pin in pins_of(name) if pin.name == "torch"] for name in ("cpu.txt", "cuda.txt")
    )
    assert cpu.files == dict(sorted(lock.TORCH_CPU_FILES.items()))
    assert not set(cuda.files.values()) & set(cpu.files.values())
    # A build for Linux without CUDA says so; macOS knows no other.
    assert all("+cpu-" in name or "-macosx_" in name for name in cpu.files)
    assert not [package for package in pins("cpu.txt") if package.startswith("nvidia")]


@pytest.mark.parametrize(("machine", "python"), EVERYWHERE, ids=str)
def test_what_pyproject_asks_for_is_locked_for_every_machine(
    machine: Machine, python: tuple[int, int]
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    core = names(project["dependencies"], machine, python)
    cpu = core | names(extras["cpu"], machine, python)

    def locked(*files: str) -> set[str]:
        return {package for file in files for package in pins(file, machine, python)}

    assert core <= locked("core.txt")
    assert cpu <= locked("cpu.txt", "gptqmodel.txt")
    if machine.cuda:
        assert cpu <= locked("cuda.txt", "gptqmodel.txt")
    for extra in ("demo", "dev", "tasks"):
        assert names(extras[extra], machine, python) <= locked(f"{extra}.txt")


def test_the_pythons_of_the_lock_files_are_those_that_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    prefix = "Programming Language :: Python :: "
    said = [word.removeprefix(prefix) for word in project["classifiers"] if word.startswith(prefix)]
    assert said == [f"{major}.{minor}" for major, minor in PYTHONS]
    assert project["requires-python"] == f">={said[0]}"


def test_the_light_core_brings_no_torch() -> None:
    assert not {"torch", "transformers", "gptqmodel", "bitsandbytes"} & set(pins("core.txt"))


def test_what_is_upgraded_is_taken_out_of_what_is_kept() -> None:
    text = (
        f"{HEADER}a==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\na-b==2 \\\n    --hash=sha256:cc\n"
    )
    assert lock.without(text, ["a"]) == f"{HEADER}a-b==2 \\\n    --hash=sha256:cc\n"
    assert lock.without(text, ()) == text


FILE = {
    "a-1-cp311-abi3-manylinux_2_28_x86_64.whl": "0" * 64,
    "a-1-cp311-abi3-manylinux_2_36_x86_64.whl": "1" * 64,
    "a-1-cp311-abi3-manylinux2014_aarch64.whl": "2" * 64,
    "a-1.tar.gz": "3" * 64,
}


def test_a_package_without_a_wheel_for_a_machine_is_an_error_that_names_it() -> None:
    pin = Pin(name="a", version="1", marker="", files={})
    with pytest.raises(
        lock.LockError, match=r"a 1 has no wheel for macOS on Apple Silicon with Python 3\.11, macOS"
    ):
        lock.choose(pin, FILE, MACHINES)


def test_of_a_release_only_the_files_that_a_machine_takes_are_locked() -> None:
    pin = Pin(name="a", version="1", marker="sys_platform == 'linux'", files={})
    chosen = lock.choose(pin, FILE, MACHINES)
    assert chosen is not None
    # Not the one for a newer glibc, and no source where there are wheels.
    assert set(chosen.files.values()) == {"0" * 64, "2" * 64}
    assert chosen.marker == "sys_platform == 'linux'"
    on_linux = lock.choose(pin, FILE, [LINUX, ARM])
    assert on_linux is not None
    assert on_linux.marker == ""


def test_what_no_machine_needs_is_not_locked() -> None:
    pin = Pin(name="a", version="1", marker="sys_platform == 'win32'", files={})
    assert lock.choose(pin, FILE, MACHINES) is None


def test_a_file_with_something_else_in_it_is_no_lock_file() -> None:
    with pytest.raises(ValueError, match="more in it than pins"):
        read_pins(f"{HEADER}a==1\n")


@pytest.mark.parametrize(("machine", "python"), EVERYWHERE, ids=str)
def test_bootstrap_takes_every_machine_and_python_of_the_lock_files(
    machine: Machine, python: tuple[int, int]
) -> None:
    with being(machine, python):
        assert bootstrap.this_machine() == machine
        bootstrap.check_machine("dev")


@pytest.mark.parametrize(
    ("system", "architecture", "said"),
    [
        ("Darwin", "x86_64", r"this is Darwin x86_64\.\n  Install without them"),
        ("Linux", "ppc64le", r"this is Linux ppc64le\.\n  Install without them"),
        ("Windows", "AMD64", r"this is Windows x86_64\.\n  On Windows work inside WSL"),
    ],
)
def test_bootstrap_refuses_a_machine_without_locks_and_names_those_with(
    system: str, architecture: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    monkeypatch.setattr(platform, "system", lambda: system)
    known = "the lock files are for Linux x86-64, Linux aarch64, macOS on Apple Silicon; "
    with pytest.raises(BootstrapError, match=known + said):
        bootstrap.check_machine("demo")


def test_bootstrap_refuses_a_python_without_locks() -> None:
    with (
        being(LINUX, (3, 10)),
        pytest.raises(BootstrapError, match=r"the lock files are for 3\.11, 3\.12, 3\.13, 3\.14\."),
    ):
        bootstrap.check_machine("demo")


def test_bootstrap_refuses_cuda_where_there_is_no_lock_file_for_it() -> None:
    with (
        being(MACOS),
        pytest.raises(BootstrapError, match="for Linux x86-64, this is macOS on Apple Silicon"),
    ):
        bootstrap.check_machine("cuda")


def test_pytorchs_own_index_is_asked_on_linux_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "pytorch_index_answers", lambda: True)
    for machine in MACHINES:
        with being(machine):
            asked = bootstrap.PYTORCH_CPU_INDEX in bootstrap.options_for("cpu.txt")
        assert asked == (machine.system == "Linux")


def test_another_lock_file_makes_another_stamp() -> None:
    assert bootstrap.stamp(["cpu.txt"]) == bootstrap.stamp(["cpu.txt"])
    assert bootstrap.stamp(["cpu.txt"]) != bootstrap.stamp(["cpu.txt", "dev.txt"])


def test_another_machine_or_python_makes_another_stamp() -> None:
    stamps = set()
    for machine, python in EVERYWHERE:
        with being(machine, python):
            stamps.add(bootstrap.stamp(["cpu.txt"]))
    assert len(stamps) == len(EVERYWHERE)
