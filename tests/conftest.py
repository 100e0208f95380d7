"""What all tests share: the real model and texts, and the rule that CI skips nothing."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.formats import FORMATS
from quantize_lib.versions import missing
from tests.support.chromium import Browser, browser, chromium

ROOT = Path(__file__).resolve().parent.parent
# The Hub of the tests (tests/support/hub) speaks LFS; the client reads this when it is imported.
os.environ["HF_HUB_DISABLE_XET"] = "1"
# Without: once a day it asks which coding agents there are.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
_LEFT_OUT = pytest.StashKey[dict[str, int]]()
_NEED = {
    "docker": "a Docker engine (tools/docker_engine.sh starts one), one of them also root",
    "browser": "a browser (tools/chromium.sh installs one)",
    "linux": "Linux",
    "llama_cpp": "llama-cpp-python, which compiles llama.cpp and is not locked",
    "llama_server": "llama.cpp's llama-server on the PATH, which is compiled and not locked",
}
"""What is said of the tests that a marker left out."""
DEMO_DATA = ROOT / "examples" / "demo" / "work"


def demo_data(name: str) -> Path:
    """A piece of what examples/demo/fetch.py brings; `make test` runs it before pytest."""
    path = DEMO_DATA / name
    if not path.exists():
        pytest.fail(f"{path.relative_to(ROOT)} is missing: run python examples/demo/fetch.py", pytrace=False)
    return path


@pytest.fixture(scope="session")
def real_model() -> Path:
    """SmolLM2-135M-Instruct: 30 Llama blocks in bfloat16, hidden 576. Read only."""
    return demo_data("model")


@pytest.fixture(scope="session")
def calibration_text() -> Path:
    """300 real news stories, JSON lines."""
    return demo_data("calibration.jsonl")


@pytest.fixture(scope="session")
def held_out_text() -> Path:
    """50 other news stories, JSON lines."""
    return demo_data("held-out.jsonl")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with a fresh profile."""
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="session")
def small_model(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model's first two blocks with its real embedding, tokenizer and card. Read only."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("small-model") / "SmolLM2-135M-Instruct-2-blocks"
    config = AutoConfig.from_pretrained(real_model, num_hidden_layers=2)
    model = AutoModelForCausalLM.from_pretrained(real_model, config=config, dtype="auto")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(real_model).save_pretrained(folder)
    (folder / "README.md").write_bytes((real_model / "README.md").read_bytes())
    return folder


def _fail_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") == "true" and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"in CI every test runs, this one did not: {getattr(report, 'wasxfail', reason)}"
        report.__dict__.pop("wasxfail", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test that was skipped or is expected to fail fail in CI, and keep what was logged sendable."""
    report = yield
    _fail_skipped(report)
    # pytest-xdist sends UTF-8 only, and half a surrogate pair from a fuzzed file, logged, ended its worker.
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let a file that skips itself as a whole fail in CI."""
    report = yield
    _fail_skipped(report)
    return report


@functools.cache
def _engine_answers() -> bool:
    import docker
    from docker.errors import DockerException

    try:
        docker.from_env().ping()
    except DockerException:
        return False
    return True


def _may_be_root() -> bool:
    if os.getuid() == 0:
        return True
    sudo = shutil.which("sudo")
    return sudo is not None and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0


def _needs_root(item: pytest.Item) -> bool:
    return any(mark.kwargs.get("root") for mark in item.iter_markers("docker"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests out that need what is not here; in CI they fail, unless they need what no lock has."""
    left_out = {
        "llama_cpp": _without_llama_cpp([item for item in items if item.get_closest_marker("llama_cpp")]),
        "llama_server": [
            item
            for item in items
            if item.get_closest_marker("llama_server") and shutil.which("llama-server") is None
        ],
    }
    if os.environ.get("CI") != "true":
        left_out |= _without_the_rest(items)
    gone = [item for items in left_out.values() for item in items]
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=gone)
    config.stash[_LEFT_OUT] = {name: len(items) for name, items in left_out.items() if items}


def _without_the_rest(items: list[pytest.Item]) -> dict[str, list[pytest.Item]]:
    return {
        "docker": _without_docker([item for item in items if item.get_closest_marker("docker")]),
        "browser": _without_browser([item for item in items if item.get_closest_marker("browser")]),
        "linux": [item for item in items if item.get_closest_marker("linux") and sys.platform != "linux"],
    }


def _without_llama_cpp(need: list[pytest.Item]) -> list[pytest.Item]:
    return need if missing(["llama-cpp-python"]) else []


def _without_docker(need: list[pytest.Item]) -> list[pytest.Item]:
    if not need or not _engine_answers():
        return need
    return [] if _may_be_root() else [item for item in need if _needs_root(item)]


def _without_browser(need: list[pytest.Item]) -> list[pytest.Item]:
    return need if chromium() is None else []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run of these tests alone has nothing to do where none of them can run, which is no failure."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.stash.get(_LEFT_OUT, {}):
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out."""
    for name, count in config.stash.get(_LEFT_OUT, {}).items():
        terminalreporter.write_line(f"{count} tests were left out: they need {_NEED[name]}")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say under which rule the run stands, and which libraries its tests will not find."""
    del config
    ci: Any = os.environ.get("CI")
    lines = ["CI: a skipped test fails" if ci == "true" else "a skipped test fails in CI"]
    needed = dict.fromkeys(name for entry in FORMATS.values() for name in entry.requirements)
    if absent := missing(["torch", *needed]):
        lines.append(f"not installed here, so tests that need them fail: {', '.join(absent)}")
    return lines
