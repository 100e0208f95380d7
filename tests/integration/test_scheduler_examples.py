"""The examples for schedulers: their scripts are run with programs that note what they are called with."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib.cli.arguments import parse_arguments
from tests.support.hub import Hub
from tests.support.publications import TOKEN, met

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SHARDS = [(1, 3), (2, 3), (3, 3)]
_NOTE = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["NOTED"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""

Noted = Callable[..., list[Any]]


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    """Runs a script, and gives the command lines of ours in it as the tool's own parser reads them."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("model-quantizer", "python"):
        (programs / name).write_text(_NOTE, encoding="utf-8")
    (programs / "srun").write_text('#!/bin/sh\nexec "$@"\n', encoding="utf-8")
    for name in ("mkdir", "cp"):
        (programs / name).write_text("#!/bin/sh\n", encoding="utf-8")
    for program in programs.iterdir():
        program.chmod(0o755)

    def run(command: list[str], environment: Mapping[str, str]) -> list[Any]:
        notes = tmp_path / "noted"
        notes.write_text("", encoding="utf-8")
        # The shell itself is found where this process finds it.
        shell = next(folder for folder in ("/bin", "/usr/bin") if (Path(folder) / command[0]).exists())
        subprocess.run(
            [f"{shell}/{command[0]}", *command[1:]],
            env={"PATH": str(programs), "NOTED": str(notes), **environment},
            check=True,
            timeout=60,
        )
        lines = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
        for words in lines:
            if words[0] == "python":
                assert words[1] == "/opt/app/entrypoint.py", "as the image has it"
        return [parse_arguments(words[2 if words[0] == "python" else 1 :]) for words in lines]

    return run


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "kubernetes" / name).read_text(encoding="utf-8"))
    return found


def container(job: Mapping[str, Any]) -> Mapping[str, Any]:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    found: Mapping[str, Any] = only
    return found


def test_slurms_array_has_a_task_for_each_shard_and_the_run_adds_them_up(noted: Noted) -> None:
    script = EXAMPLES / "slurm" / "calibrate.sbatch"
    (array,) = (line for line in script.read_text().splitlines() if line.startswith("#SBATCH --array="))
    assert array == f"#SBATCH --array=1-{len(SHARDS)}"
    made = []
    for number, _ in SHARDS:
        # One task alone, as a shard that is made again: the number of shards stays.
        tasks = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": "1"}
        made += noted(["bash", str(script)], tasks)
    assert [(one.command, one.shard) for one in made] == [("calibrate", shard) for shard in SHARDS]
    (run,) = noted(["bash", str(EXAMPLES / "slurm" / "run.sbatch")], {"SLURM_CPUS_PER_TASK": "8"})
    assert (run.command, run.manifest) == ("run", made[0].manifest)
    assert run.statistics == [made[0].output]


def test_kubernetes_job_has_an_index_for_each_shard_and_the_other_adds_them_up(noted: Noted) -> None:
    shards, last = document("calibrate.yaml"), document("run.yaml")
    spec = shards["spec"]
    assert spec["completionMode"] == "Indexed"
    made = []
    for index in range(spec["completions"]):
        made += noted(container(shards)["command"], {"JOB_COMPLETION_INDEX": str(index)})
    assert [(one.command, one.shard) for one in made] == [("calibrate", shard) for shard in SHARDS]
    (run,) = noted(container(last)["command"], {})
    assert (run.command, run.manifest) == ("run", made[0].manifest)
    assert run.statistics == [made[0].output]


@pytest.mark.parametrize("name", ["calibrate.yaml", "run.yaml"])
def test_kubernetes_jobs_hold_what_the_trust_boundary_asks_for(name: str) -> None:
    job = document(name)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod, inside = job["spec"]["template"]["spec"], container(job)
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert inside["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in inside["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert inside["workingDir"] in {mount["mountPath"] for mount in inside["volumeMounts"]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with met(monkeypatch) as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def submit(*words: str) -> int:
    path = EXAMPLES / "hf-jobs" / "submit.py"
    spec = importlib.util.spec_from_file_location("submit", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    code: int = module.main(
        ["--image", "acme/image", "--bucket", "acme/quantize", "--shards", "3", *words], poll_seconds=0.01
    )
    return code


def test_hugging_face_jobs_make_the_shards_and_then_the_rest(hub: Hub, noted: Noted) -> None:
    assert submit() == 0
    jobs = list(hub.jobs.values())
    assert {job["dockerImage"] for job in jobs} == {"acme/image"}
    assert all(
        job["volumes"] == [{"type": "bucket", "source": "acme/quantize", "mountPath": "/bucket"}]
        for job in jobs
    )
    *shards, last = [noted(job["command"], {})[0] for job in jobs]
    assert [(one.command, one.shard) for one in shards] == [("calibrate", shard) for shard in SHARDS]
    assert (last.command, last.manifest) == ("run", shards[0].manifest)
    assert last.statistics == [Path("/bucket/statistics")]
    assert "cp -r /tmp/statistics/* /bucket/statistics/" in jobs[0]["command"][2]


def test_only_the_shards_that_are_missing_are_made_again(hub: Hub, noted: Noted) -> None:
    hub.buckets["acme/quantize"] = tuple(
        f"statistics/tiny-auto/{number}-of-3/statistics.json" for number in (1, 3)
    )
    assert submit() == 0
    made = [noted(job["command"], {})[0] for job in hub.jobs.values()]
    assert [getattr(one, "shard", None) for one in made] == [(2, 3), None]


def test_nothing_is_added_up_where_a_shard_failed(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.failing_jobs = "2/3"
    assert submit() == 1
    assert len(hub.jobs) == len(SHARDS)
    assert capsys.readouterr().err.count("ERROR") == 1


def test_the_scripts_of_slurm_are_bash() -> None:
    for script in sorted((EXAMPLES / "slurm").glob("*.sbatch")):
        subprocess.run(["bash", "-n", str(script)], check=True, env=dict(os.environ), timeout=60)
