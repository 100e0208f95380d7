"""Executes a composite action's steps as GitHub's runner does; only actions of others are stood in for.

Expressions are evaluated by GitHub's own evaluator (tests/actions/evaluate.mjs). A step with `uses` must have
a stand-in here, which knows the inputs of the real one and fails on any other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.attestations import unsigned_bundle
from tools import bootstrap

ROOT = Path(__file__).resolve().parents[2]
NODE_MODULES = ROOT / "tests" / "actions" / "node_modules"
EVENTS = ROOT / "tests" / "actions" / "events"
HARMLESS_COMMANDS = {"add-mask", "group", "endgroup", "error", "warning", "notice", "debug"}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A workflow command that the runner would have obeyed."""

    name: str
    data: str


@dataclass(kw_only=True)
class Step:
    """What became of one step."""

    name: str
    ran: bool
    uses: str | None = None
    code: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)
    """`env` of a step that runs, `with` of one that uses."""
    log: str = ""
    commands: tuple[Command, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class ActionResult:
    """What became of the action."""

    steps: list[Step]
    outputs: Mapping[str, str]
    succeeded: bool
    summary: str

    @property
    def log(self) -> str:
        """Everything that was printed, unmasked."""
        return "".join(step.log for step in self.steps)

    @property
    def commands(self) -> list[Command]:
        """Every workflow command, in order."""
        return [command for step in self.steps for command in step.commands]

    def step(self, name: str) -> Step:
        """The step of a name."""
        return next(step for step in self.steps if step.name == name)

    def ran(self) -> list[str]:
        """The names of the steps that ran."""
        return [step.name for step in self.steps if step.ran]


class Runner:
    """One job on a runner: a workspace, a temporary folder, caches and artifacts."""

    def __init__(self, folder: Path, event: str, *, environment: Mapping[str, str] | None = None) -> None:
        self.workspace = folder / "workspace"
        self.temp = folder / "temp"
        self.caches = folder / "caches"
        self.artifacts = folder / "artifacts"
        self.event = EVENTS / f"{event}.json"
        for made in (self.workspace, self.temp, self.caches, self.artifacts):
            made.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "HF_"))},
            "OMP_NUM_THREADS": "1",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_EVENT_NAME": "pull_request" if "pull_request" in event else "push",
            "GITHUB_EVENT_PATH": str(self.event),
            "GITHUB_REPOSITORY": "acme/models",
            "GITHUB_RUN_ID": "1234567890",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "quantize",
            "GITHUB_SHA": "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d",
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64",
            "RUNNER_ENVIRONMENT": "github-hosted",
            "RUNNER_TEMP": str(self.temp),
            **(environment or {}),
        }
        self._stand_ins: dict[str, Callable[[Mapping[str, str]], dict[str, str]]] = {
            "actions/setup-python": self._setup_python,
            "actions/cache": self._cache_restore,
            "actions/cache/restore": self._cache_restore,
            "actions/cache/save": self._cache_save,
            "actions/upload-artifact": self._upload_artifact,
            "actions/attest": self._attest,
        }

    def use(
        self, action: Path, inputs: Mapping[str, str], *, stop: tuple[str, Path] | None = None
    ) -> ActionResult:
        """Run a composite action with the inputs that a caller gives.

        Args:
            stop: a step, and the path whose appearance is the moment at which the job is cancelled.
        """
        definition = yaml.safe_load((action / "action.yml").read_text(encoding="utf-8"))
        assert definition["runs"]["using"] == "composite"
        declared = definition["inputs"]
        assert set(inputs) <= set(declared), set(inputs) - set(declared)
        given = {name: str(words.get("default", "")) for name, words in declared.items()} | dict(inputs)
        contexts: dict[str, Any] = {
            "inputs": given,
            "steps": {},
            "github": {
                "action_path": str(action),
                "workspace": str(self.workspace),
                "repository": "acme/models",
                "event": json.loads(self.event.read_text(encoding="utf-8")),
            },
            "runner": {"os": "Linux", "arch": "X64", "temp": str(self.temp)},
            "env": {},
            "job": {"status": "success"},
        }
        summary = self.temp / "summary.md"
        summary.write_text("", encoding="utf-8")
        steps: list[Step] = []
        with Evaluator() as evaluate:
            for number, words in enumerate(definition["runs"]["steps"]):
                moment = stop[1] if stop and stop[0] == words["name"] else None
                step = self._step(words, contexts, action, number, summary, evaluate, moment)
                steps.append(step)
                if moment is not None:
                    contexts["job"]["status"] = "cancelled"
                elif step.code != 0 and contexts["job"]["status"] == "success":
                    contexts["job"]["status"] = "failure"
                if "id" in words:
                    contexts["steps"][words["id"]] = {
                        "outputs": dict(step.outputs),
                        "outcome": "skipped" if not step.ran else "failure" if step.code else "success",
                    }
            wanted = {name: words["value"] for name, words in definition["outputs"].items()}
            outputs, _ = evaluate(contexts, wanted, "always()")
        return ActionResult(
            steps=steps,
            outputs=outputs,
            succeeded=contexts["job"]["status"] == "success",
            summary=summary.read_text(encoding="utf-8"),
        )

    def _step(
        self,
        words: Mapping[str, Any],
        contexts: Mapping[str, Any],
        action: Path,
        number: int,
        summary: Path,
        evaluate: Evaluator,
        stop: Path | None,
    ) -> Step:
        kind = "env" if "run" in words else "with"
        texts = {name: _text(value) for name, value in words.get(kind, {}).items()}
        values, runs = evaluate(contexts, texts, str(words.get("if", "success()")))
        step = Step(name=words["name"], ran=runs, uses=words.get("uses"), inputs=values)
        if not runs:
            return step
        if step.uses is not None:
            step.outputs = self._stand_ins[step.uses.partition("@")[0]](values)
            return step
        assert words["shell"] == "bash"
        assert "${{" not in words["run"]
        script, output = self.temp / f"step-{number}.sh", self.temp / f"output-{number}"
        script.write_text(words["run"], encoding="utf-8")
        output.write_text("", encoding="utf-8")
        files = {name: str(self.temp / f"{name.lower()}-{number}") for name in ("GITHUB_ENV", "GITHUB_PATH")}
        with subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.workspace,
            env={
                **self.environment,
                "GITHUB_ACTION_PATH": str(action),
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(summary),
                **files,
                **values,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            if stop is not None:
                # As the runner does: SIGINT, to the step's process alone.
                wait_for(stop)
                process.send_signal(signal.SIGINT)
            step.log, _ = process.communicate(timeout=600)
        # A step that writes these would change the caller's later steps.
        assert not any(Path(file).exists() for file in files.values())
        step.code = process.returncode
        step.commands = read_commands(step.log)
        step.outputs = read_outputs(output.read_text(encoding="utf-8"))
        return step

    def _setup_python(self, given: Mapping[str, str]) -> dict[str, str]:
        assert set(given) == {"python-version", "update-environment"}
        assert given["update-environment"] == "false"
        return {"python-path": sys.executable, "python-version": given["python-version"]}

    def _cache_restore(self, given: Mapping[str, str]) -> dict[str, str]:
        assert set(given) <= {"path", "key", "restore-keys"}
        assert given["path"]
        assert given["key"]
        keys = sorted((path.name for path in self.caches.iterdir()), reverse=True)
        prefixes = [given["key"], *given.get("restore-keys", "").split()]
        found = next((key for prefix in prefixes for key in keys if key.startswith(prefix)), None)
        if found is not None:
            copy_cache(self.caches / found, self.workspace / given["path"])
        return {"cache-hit": "true" if found == given["key"] else "false"}

    def _cache_save(self, given: Mapping[str, str]) -> dict[str, str]:
        assert set(given) == {"path", "key"}
        target = self.caches / given["key"]
        assert not target.exists(), "a cache's key is written once"
        copy_cache(self.workspace / given["path"], target)
        return {}

    def _attest(self, given: Mapping[str, str]) -> dict[str, str]:
        """A bundle as the real one leaves it, but for the signature."""
        assert set(given) == {"subject-checksums"}
        assert self.environment["ACTIONS_ID_TOKEN_REQUEST_URL"]
        lines = Path(given["subject-checksums"]).read_text(encoding="utf-8").splitlines()
        bundle = self.temp / "attestation.json"
        bundle.write_bytes(unsigned_bundle(dict(line.split("  ")[::-1] for line in lines)))
        return {"bundle-path": str(bundle), "attestation-id": "1"}

    def _upload_artifact(self, given: Mapping[str, str]) -> dict[str, str]:
        assert set(given) <= {"name", "path", "if-no-files-found", "overwrite", "retention-days"}
        source = self.workspace / given["path"]
        target = self.artifacts / given["name"]
        assert "/" not in given["name"]
        # Hidden files stay behind, as with `include-hidden-files: false`.
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        return {"artifact-id": "1"}


def copy_cache(source: Path, target: Path) -> None:
    """Copy a folder as the cache's tar brings it: with modes, and for root with owners."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", f"{source}/.", str(target)], check=True)


def node() -> str:
    """Node of this environment, or the machine's; the packages it needs are `make workflow-tools`."""
    if not NODE_MODULES.is_dir():
        pytest.fail("tests/actions/node_modules is missing: run make workflow-tools", pytrace=False)
    beside = Path(sys.executable).parent / "node"
    found = str(beside) if beside.is_file() else shutil.which("node")
    if found is None:
        pytest.fail("Node.js is missing: run make test-environment", pytrace=False)
    return found


def ready_environment(runner: Runner, profile: str) -> None:
    """An environment that counts as installed; PyTorch from the lock files would take minutes.

    That the step installs what it should is tested with the light core.
    """
    venv = runner.temp / f"model-quantizer-{profile}"
    (venv / "bin").mkdir(parents=True)
    program = venv / "bin" / "model-quantizer"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from quantize_lib.cli import main\nsys.exit(main())\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    (venv / bootstrap.STAMP).write_text(bootstrap.stamp(bootstrap.PROFILES[profile]), encoding="utf-8")


def wait_for(path: Path, seconds: float = 60) -> None:
    """Wait until a path appears."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never appeared"
        time.sleep(0.05)


class Evaluator:
    """GitHub's evaluator, in a process that answers line by line."""

    def __init__(self) -> None:
        command = [node(), str(ROOT / "tests" / "actions" / "evaluate.mjs")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate(timeout=60)

    def __call__(
        self, contexts: Mapping[str, Any], values: Mapping[str, str], condition: str
    ) -> tuple[dict[str, str], bool]:
        """Fill in the expressions of `values`, and decide `condition`."""
        status = contexts["job"]["status"]
        request = {"contexts": contexts, "status": status, "values": values, "condition": condition}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["values"], answer["condition"]


def read_commands(log: str) -> tuple[Command, ...]:
    """The workflow commands in a log, found as the runner finds them.

    `::name k=v::data` at the start of a line after white space; `##[name k=v]data` anywhere in a line.
    """
    found = []
    for line in log.splitlines():
        if match := re.match(r"\s*::([\w-]+)(?:\s[^:]*)?::(.*)", line) or re.search(
            r"##\[([\w-]+).*?\](.*)", line
        ):
            found.append(Command(name=match[1], data=match[2]))
    return tuple(found)


def read_outputs(text: str) -> dict[str, str]:
    """What a step wrote to GITHUB_OUTPUT; a line that the runner would refuse fails."""
    outputs: dict[str, str] = {}
    lines = iter(text.removesuffix("\n").split("\n") if text else [])
    for line in lines:
        name, separator, rest = line.partition("<<")
        if separator and "=" not in name:
            value = []
            for inner in lines:
                if inner == rest:
                    break
                value.append(inner)
            else:
                raise AssertionError(f"no end of {name}")
            outputs[name] = "\n".join(value)
        else:
            name, separator, value_text = line.partition("=")
            assert separator, line
            outputs[name] = value_text
    return outputs


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
