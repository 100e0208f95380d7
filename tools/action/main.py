"""The action's steps, one subcommand each: prepare, install, plan, run, attach, publish, finish.

Every value comes from the environment, and every program is started with a list of arguments: nothing that a
caller writes is ever read as code. Standard library only; the tool itself runs in an environment of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from quantize_lib.host.output_folder import UNPUBLISHED
from tools import bootstrap
from tools.action.attest import attach as attach_bundle
from tools.action.attest import checksums
from tools.action.github import annotate, read_event, set_outputs
from tools.action.images import pull
from tools.action.inputs import DEFAULTS, InputError, Inputs, read_inputs
from tools.action.preflight import compare, this_runner
from tools.action.unpublished import bring_back, keep

STATUSES = ("published", "built", "skipped", "failed", "gated")
REPORTED = (0, 3, 4, 5)
"""Exit codes of a run that came to its end; what went wrong stands in the report."""
SUMMARY = "summary.md"
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
"""The caller's Python, which is neither used nor touched."""
_TO_READ = ("HF_TOKEN_READ",)
_TO_WRITE = (
    "HF_TOKEN_WRITE",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
)
"""What opens doors, by what for; GitHub gives the last two to every step of a job with `id-token: write`."""
_TO_KEEP = ("HF_TOKEN_STATE",)
"""For the state of unfinished jobs, which the step that quantizes keeps."""
_FOR_ANYTHING = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN", "HF_OIDC_RESOURCE")
"""The caller's own, which may stand in the job's environment: what is used is what the action is given."""


def work_folder() -> Path:
    """What `prepare` made for the later steps."""
    return Path(os.environ["WORK"])


def venv_of(profile: str) -> Path:
    """The tool's own environment, gone with the job."""
    return Path(os.environ["RUNNER_TEMP"]) / f"model-quantizer-{profile}"


def prepare() -> int:
    """Check the inputs, and tell the later steps what they need to know."""
    try:
        inputs = read_inputs(os.environ, read_event(os.environ))
    except InputError as error:
        annotate("error", str(error))
        return 2
    if inputs.defaulted:
        words = ", ".join(f"{name}: {DEFAULTS[name]}" for name in inputs.defaulted)
        annotate("notice", f"Inputs that are written and empty are at their default ({words}).")
    if not inputs.trusted:
        annotate("notice", "This is a pull request of a fork: no token is used and nothing is published.")
    work = Path(tempfile.mkdtemp(dir=os.environ["RUNNER_TEMP"], prefix="model-quantizer-call-"))
    inputs.save(work)
    locks = bootstrap.stamp(bootstrap.PROFILES[inputs.profile])
    is_run = inputs.command == "run"
    prefix = f"model-quantizer-state-{inputs.key}-"
    run_id, attempt = os.environ["GITHUB_RUN_ID"], os.environ["GITHUB_RUN_ATTEMPT"]
    set_outputs(
        os.environ,
        {
            "work": str(work),
            "trusted": _word(inputs.trusted),
            "two-steps": _word(inputs.two_steps),
            "artifact": f"model-quantizer-checkpoints-{inputs.key}" if inputs.artifacts and is_run else "",
            "cache": _word(inputs.cache),
            "pip-key": f"model-quantizer-pip-{inputs.profile}-{locks[:16]}",
            "pip-cache": str(Path(os.environ["RUNNER_TEMP"]) / "model-quantizer-pip"),
            "keep-state": _word(inputs.cache and inputs.computes),
            # A cache's key is written once, so every attempt has its own; the next takes the newest.
            "state-key": f"{prefix}{run_id}-{attempt}",
            "state-prefix": prefix,
            "output": inputs.output,
            "statistics": inputs.output if inputs.command == "calibrate" else "",
        },
    )
    return 0


def install() -> int:
    """Make the tool's environment from the lock files beside this action."""
    inputs = Inputs.load(work_folder())
    for name in (*_FOREIGN, "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"):
        os.environ.pop(name, None)
    try:
        bootstrap.bootstrap(venv_of(inputs.profile), inputs.profile)
    except bootstrap.BootstrapError as error:
        annotate("error", str(error))
        return 1
    return 0


def plan() -> int:
    """Validate, plan or choose what has changed; before a run, compare its needs with this runner."""
    work = work_folder()
    inputs = Inputs.load(work)
    if inputs.command == "validate":
        return _tool(inputs, ["validate", inputs.manifest]).returncode
    cells = list(inputs.only)
    if inputs.command == "plan" or inputs.changed_only:
        words = [*_plan_words(inputs, cells), "--format=github"]
        words += ["--changed-only"] if inputs.changed_only else []
        words += [f"--shards={inputs.shards}"] if inputs.shards else []
        done = _tool(inputs, words, capture=True)
        if done.returncode != 0:
            return done.returncode
        planned = json.loads(done.stdout)
        matrix = planned["jobs"] if inputs.shards else planned
        shards = planned["shards"] if inputs.shards else {"include": []}
        print(json.dumps(planned, ensure_ascii=True, indent=2))
        cells = [cell for entry in matrix["include"] for cell in entry["cells"].split()]
        # Also as a file: a variable, through which a later step gets an output, holds 128 KiB.
        file = work / "matrix.json"
        file.write_text(json.dumps(matrix), encoding="utf-8")
        set_outputs(
            os.environ,
            {"matrix": json.dumps(matrix), "matrix-file": str(file), "shards": json.dumps(shards)},
        )
        if inputs.command == "plan":
            return 0
        if not cells:
            annotate("notice", "Nothing has changed since it was published: nothing to do.")
            return 0
    done = _tool(inputs, [*_plan_words(inputs, cells), "--format=json"], capture=True)
    if done.returncode not in (0, 3):
        return done.returncode
    # 3: a model that cannot be looked at. Its cells fail in the run, and the others are made.
    devices, beyond = [inputs.device], False
    if done.returncode == 0:
        planned = json.loads(done.stdout)
        beyond = inputs.command == "run" and inputs.trusted and planned["state"]["beyond_output"]
        devices = sorted({job["device"] for job in planned["jobs"]})
        if code := _preflight(inputs, planned):
            return code
    # Where the manifest has a store for unfinished jobs, they are no matter of the cache.
    state = f"{inputs.state}/{UNPUBLISHED}" if beyond else inputs.state
    todo = {"cells": cells, "devices": devices, "state": state}
    (work / "todo.json").write_text(json.dumps(todo), encoding="utf-8")
    set_outputs(os.environ, {"run": "true", "state": state})
    return 0


def _preflight(inputs: Inputs, planned: Mapping[str, Any]) -> int:
    """Say what cannot work, and what may not; not 0 where it cannot."""
    target = planned["publish"]
    if inputs.command == "run" and inputs.publish and not inputs.can_write and target["needs_credentials"]:
        # As publish/registry.py says, but before hours of work: the run itself does not publish here.
        annotate(
            "error",
            f"publish.to: {target['to']} needs hf-token-write, or `id-token: write` among the job's "
            "permissions and trusted publishers on the Hub. Without one set `publish: false`, or publish "
            "into a folder.",
        )
        return 2
    runner = this_runner(Path(inputs.output), os.environ)
    errors, warnings = compare(planned["jobs"], runner, containers=inputs.executor == "docker")
    for warning in warnings:
        annotate("warning", warning)
    for error in errors:
        annotate("error", error)
    return 3 if errors else 0


def run() -> int:
    """Quantize, check and, unless that is a step of its own, publish; or calibrate."""
    work = work_folder()
    inputs = Inputs.load(work)
    todo = _todo(work)
    if inputs.executor == "docker" and (code := pull(inputs.image, todo["devices"])):
        return code
    words = [inputs.command, inputs.manifest, f"--output={inputs.output}", f"--device={inputs.device}"]
    words += [f"--only={cell}" for cell in todo["cells"]]
    words += [f"--executor={inputs.executor}", *([f"--image={inputs.image}"] if inputs.image else [])]
    if inputs.command == "calibrate":
        return _tool(inputs, [*words, f"--shard={inputs.shard}"]).returncode
    words += [f"--statistics={inputs.statistics}"] if inputs.statistics else []
    publish_now = inputs.publish and not inputs.two_steps
    words.append("--publish" if publish_now else "--no-publish")
    # Nobody else's commit gets to what a store has.
    words += [] if inputs.trusted else ["--no-state"]
    environment = dict(os.environ)
    if inputs.two_steps:
        # The publishing step's says what became of each cell; this one is shown where it never comes to that.
        environment["GITHUB_STEP_SUMMARY"] = str(work / SUMMARY)
    bring_back(Path(inputs.output))
    before = _written(inputs)
    code = _tool(inputs, words, environment=environment, keeps=inputs.trusted).returncode
    reported = _written(inputs) != before
    if inputs.attest and reported and (lines := checksums(Path(inputs.output), _cells(inputs))):
        # A file: there may be more than a variable holds.
        file = work / "checksums.txt"
        file.write_text(lines, encoding="utf-8")
        set_outputs(os.environ, {"checksums": str(file)})
    return _settle(work, inputs, code, reported=reported)


def attach() -> int:
    """Put GitHub's signature into the checkpoints that it is of."""
    inputs = Inputs.load(work_folder())
    attach_bundle(Path(os.environ["BUNDLE"]), Path(inputs.output), _cells(inputs))
    return 0


def publish() -> int:
    """Publish what the run built; the only step that may write."""
    work = work_folder()
    inputs = Inputs.load(work)
    code = _tool(inputs, ["publish", inputs.output], writes=True).returncode
    (work / SUMMARY).unlink(missing_ok=True)
    return _settle(work, inputs, code, reported=True)


def _todo(work: Path) -> dict[str, Any]:
    """What `plan` left for the run."""
    todo: dict[str, Any] = json.loads((work / "todo.json").read_text(encoding="utf-8"))
    return todo


def _report(inputs: Inputs) -> Path:
    return (Path(inputs.output) / "report.json").absolute()


def _cells(inputs: Inputs) -> list[Mapping[str, Any]]:
    cells: list[Mapping[str, Any]] = json.loads(_report(inputs).read_text(encoding="utf-8"))["cells"]
    return cells


def _written(inputs: Inputs) -> int:
    """When the report was written (ns); 0 where there is none. An earlier run may have left one."""
    path = _report(inputs)
    return path.stat().st_mtime_ns if path.is_file() else 0


def _settle(work: Path, inputs: Inputs, code: int, *, reported: bool) -> int:
    """Leave the exit code for `finish`: a failed cell is not to keep the others from being published."""
    if reported and inputs.cache:
        try:
            if inputs.publish:
                keep(Path(inputs.output), _cells(inputs))
            # The step that saves it warns of a folder that is not there.
            Path(_todo(work)["state"]).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            annotate("warning", f"What is not published cannot be kept for a later attempt: {error}")
    (work / "result.json").write_text(json.dumps({"code": code, "reported": reported}), encoding="utf-8")
    return 0 if reported and code in REPORTED else code or 1


def finish() -> int:
    """Set the outputs from the report, and end as the run did."""
    work = work_folder()
    inputs = Inputs.load(work)
    result = work / "result.json"
    if not result.is_file():
        # There was no run, or an earlier step failed and said why.
        return 0
    settled = json.loads(result.read_text(encoding="utf-8"))
    if settled["reported"]:
        set_outputs(os.environ, {"report": str(_report(inputs)), **result_outputs(_cells(inputs))})
    if (summary := work / SUMMARY).is_file():
        with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
            file.write(summary.read_text(encoding="utf-8"))
    return int(settled["code"])


def result_outputs(cells: list[Mapping[str, Any]]) -> dict[str, str]:
    """The outputs `published`, `counts` and `failed` of a report's cells."""
    counts = Counter(cell["status"] for cell in cells)
    published = [
        {key: cell[key] for key in ("id", "repository", "commit", "url")}
        for cell in cells
        if cell["status"] == "published"
    ]
    return {
        "published": json.dumps(published),
        "counts": json.dumps({status: counts[status] for status in STATUSES}),
        "failed": " ".join(cell["id"] for cell in cells if cell["status"] == "failed"),
    }


def _plan_words(inputs: Inputs, cells: list[str]) -> list[str]:
    return ["plan", inputs.manifest, f"--device={inputs.device}", *(f"--only={cell}" for cell in cells)]


def _tool(
    inputs: Inputs,
    words: list[str],
    *,
    capture: bool = False,
    environment: Mapping[str, str] | None = None,
    writes: bool = False,
    keeps: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in the workspace; a module that lies there is never imported.

    Args:
        writes: whether it gets what publishes; else it gets what reads, and never both.
        keeps: whether it gets what keeps the state of unfinished jobs.
    """
    given = os.environ if environment is None else environment
    left_out = {*_FOREIGN, *_FOR_ANYTHING, *(_TO_READ if writes else _TO_WRITE), *(() if keeps else _TO_KEEP)}
    clean = {name: value for name, value in given.items() if name not in left_out}
    if not inputs.trusted:
        # Nor the login of a runner of one's own.
        clean["HF_TOKEN_PATH"] = os.devnull
    command = [str(venv_of(inputs.profile) / "bin" / "model-quantizer"), *words]
    with subprocess.Popen(
        command,
        env={**clean, "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE if capture else None,
        text=True,
    ) as child:
        # A job that is stopped gets SIGINT and has seconds: enough for the tool to end its work and report.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: child.terminate())
        output, _ = child.communicate()
    return subprocess.CompletedProcess(command, child.returncode, output)


def _word(value: bool) -> str:
    return "true" if value else "false"


STEPS: Mapping[str, Callable[[], int]] = {
    step.__name__: step for step in (prepare, install, plan, run, attach, publish, finish)
}

if __name__ == "__main__":
    sys.exit(STEPS[sys.argv[1]]())
