"""The lock files pin everything by hash, agree with each other, and hold nothing of one machine."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z, ]+\])?==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
HEADER = "# Written by tools/lock.py (`make lock`) for CPython 3.11 on Linux x86-64; do not edit.\n"


def pins(name: str) -> dict[str, str]:
    """Package → version."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return {package: version for package, version, _ in PIN.findall(text)}


def names(requirements: list[str]) -> set[str]:
    """The packages' names as lock files write them."""
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
def test_every_line_of_a_lock_file_is_a_pin_with_hashes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(HEADER)
    assert PIN.sub("", text.removeprefix(HEADER)) == ""


def test_lock_files_agree_with_each_other() -> None:
    known = pins("cpu.txt")
    for path in FILES:
        for package, version in pins(path.name).items():
            assert known.get(package, version) == version, f"{path.name}: {package}"


def test_the_cpu_lock_takes_no_cuda_build_and_the_cuda_lock_no_cpu_build() -> None:
    cpu = set(load_tool("lock").TORCH_CPU_HASHES)
    hashes = {}
    for name in ("cpu.txt", "cuda.txt"):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        block = next(match for match in PIN.finditer(text) if match[1] == "torch")
        hashes[name] = set(re.findall(r"sha256:([0-9a-f]{64})", block[3]))
    assert hashes["cpu.txt"] == cpu
    assert not hashes["cuda.txt"] & cpu
    assert not [package for package in pins("cpu.txt") if package.startswith("nvidia")]


def test_what_pyproject_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    core = names(project["dependencies"])
    assert core <= set(pins("core.txt"))
    assert core | names(extras["cpu"]) <= {*pins("cpu.txt"), *pins("gptqmodel.txt")}
    assert core | names(extras["cpu"]) <= {*pins("cuda.txt"), *pins("gptqmodel.txt")}
    assert names(extras["demo"]) <= set(pins("demo.txt"))
    assert names(extras["dev"]) <= set(pins("dev.txt"))
    assert names(extras["tasks"]) <= set(pins("tasks.txt"))


def test_the_light_core_brings_no_torch() -> None:
    assert not {"torch", "transformers", "gptqmodel", "bitsandbytes"} & set(pins("core.txt"))


def test_what_is_upgraded_is_taken_out_of_what_is_kept() -> None:
    text = (
        f"{HEADER}a==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\na-b==2 \\\n    --hash=sha256:cc\n"
    )
    without = load_tool("lock").without
    assert without(text, ["a"]) == f"{HEADER}a-b==2 \\\n    --hash=sha256:cc\n"
    assert without(text, ()) == text


def test_bootstrap_refuses_a_machine_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap = load_tool("bootstrap")
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(bootstrap.platform, "system", lambda: "Darwin")
    with pytest.raises(bootstrap.BootstrapError, match="for Linux x86-64, this is Darwin arm64"):
        bootstrap.check_machine()


def test_bootstrap_refuses_a_python_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap = load_tool("bootstrap")
    monkeypatch.setattr(bootstrap, "SUPPORTED", ((3, 9), (3, 10)))
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(bootstrap.platform, "system", lambda: "Linux")
    with pytest.raises(bootstrap.BootstrapError, match=r"the lock files are for 3\.9 or 3\.10"):
        bootstrap.check_machine()


def test_another_lock_file_makes_another_stamp() -> None:
    bootstrap = load_tool("bootstrap")
    assert bootstrap.stamp(["cpu.txt"]) == bootstrap.stamp(["cpu.txt"])
    assert bootstrap.stamp(["cpu.txt"]) != bootstrap.stamp(["cpu.txt", "dev.txt"])
