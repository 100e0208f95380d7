"""A run and its state store: what is brought back, what is sent, and what is removed."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import EngineError, UsageError
from quantize_lib.files import remove_tree
from quantize_lib.host.run_options import RunOptions
from quantize_lib.host.run_plan import run_plan
from quantize_lib.job.layout import BROUGHT_BACK, CONTAINER_OUTPUT, PASSES
from quantize_lib.kept_state import keeping
from quantize_lib.kept_state.base import get_store
from quantize_lib.kept_state.directory import DirectoryStore
from quantize_lib.manifest import parse_manifest
from quantize_lib.reporting import Reporter
from quantize_lib.state_stores import state_spec
from tests.support.model_files import LLAMA, write_model
from tests.support.states import CELL as STATE_CELL
from tests.support.states import JOB, Heard, tree, write_pass

CELL = "tiny-bnb-8bit"
Work = Callable[[Path], None]
"""What a quantizing process does in the job's folder."""


class Machine:
    """Runs one job with a store in `folder/kept`, each time in an output folder that is new."""

    def __init__(self, folder: Path, *, contained: bool) -> None:
        write_model(folder / "tiny", LLAMA)
        document = {
            "version": 1,
            "models": [{"id": "./tiny", "quantize": [{"method": "bitsandbytes", "bits": 8}]}],
            "state": {"in": "directory", "path": "kept"},
        }
        self._plan = parse_manifest(json.dumps(document), path=folder / "quantize.yml")
        self._folder = folder
        self.contained = contained
        self.kept = folder / "kept" / "tiny-auto" / "state.json"

    def run(self, work: Work, *, keep: bool = False) -> str:
        """Run the job; what was said.

        Args:
            keep: whether the output folder is that of the run before.
        """
        output = self._folder / "output"
        if output.exists() and not keep:
            shutil.rmtree(output)

        def execute(job_file: Path, *, log: Path, reporter: Reporter) -> None:
            del log, reporter
            work(job_file.parent)

        log = io.StringIO()
        options = RunOptions(
            output=output,
            publisher=None,
            execute=execute,
            command="model-quantizer run quantize.yml",
            log=self._folder / "log.txt",
            show=lambda _: None,
            image=(lambda _: "image") if self.contained else None,
            store=get_store(self._plan.state),
        )
        run_plan(self._plan, options, PlainReporter(log))
        return log.getvalue()

    def brought_back(self, job: Path) -> Path:
        """Where what a store had lies; a container's is no process's of ours."""
        return job / BROUGHT_BACK if self.contained else job

    def written(self, job: Path) -> Path:
        """Where the process writes to."""
        return job / CONTAINER_OUTPUT if self.contained else job


@pytest.fixture(params=[False, True], ids=["process", "container"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("quantize_lib.host.tokenizers.can_ask", lambda: False)
    return Machine(tmp_path, contained=request.param)


def fails(machine: Machine, block: int) -> Work:
    """A process that ends after a block."""

    def work(job: Path) -> None:
        write_pass(machine.written(job), block, shard=100 * block, cell=CELL)
        raise EngineError("out of memory")

    return work


def test_what_a_failed_process_left_is_where_the_next_one_goes_on_from(machine: Machine) -> None:
    machine.run(fails(machine, 2))
    found: dict[str, bytes] = {}

    def look(job: Path) -> None:
        # An executor brings it from there to where its processes write.
        found.update(tree(machine.brought_back(job) / PASSES))
        assert machine.contained != (job / PASSES).exists()
        raise KeyboardInterrupt

    said = machine.run(look)
    assert "of unfinished work back from" in said
    assert json.loads(found["1/progress.json"])["blocks"] == 2
    assert len(found[f"1/{CELL}/part-00001.safetensors"]) == 200
    # A signal takes nothing away.
    assert machine.kept.exists()


def test_what_lies_in_the_output_folder_goes_before_what_the_store_has(machine: Machine) -> None:
    machine.run(fails(machine, 2))
    machine.run(fails(machine, 3), keep=True)
    blocks: list[int] = []

    def look(job: Path) -> None:
        progress = machine.written(job) / PASSES / "1" / "progress.json"
        blocks.append(json.loads(progress.read_text())["blocks"])
        raise KeyboardInterrupt

    assert "of unfinished work back from" not in machine.run(look, keep=True)
    assert blocks == [3]


def test_what_an_executor_forgot_because_it_is_unusable_is_forgotten_in_the_store_as_well(
    machine: Machine,
) -> None:
    machine.run(fails(machine, 2))

    def spoiled(job: Path) -> None:
        remove_tree(machine.brought_back(job) / PASSES)
        raise EngineError("the job failed in its container (exit code 1)")

    machine.run(spoiled)
    assert not machine.kept.parent.exists()


def test_a_store_that_cannot_be_written_is_refused_before_a_process_starts(machine: Machine) -> None:
    machine.kept.parent.parent.write_text("a file in its place", encoding="utf-8")

    def never(_: Path) -> None:
        raise AssertionError

    with pytest.raises(UsageError, match=r"state: .*kept cannot be written: (File exists|Not a directory)"):
        machine.run(never)


def test_a_set_is_sent_while_the_job_goes_on_and_the_next_one_not_before_a_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_POLL_SECONDS", 0.01)
    spec = state_spec("directory", path=tmp_path / "kept")
    heard, root, kept = Heard(), tmp_path / "root", tmp_path / "kept" / JOB / "state.json"
    keeper = keeping.JobKeeper(
        DirectoryStore(spec),
        JOB,
        fingerprints={STATE_CELL: "ab"},
        contained=False,
        estimate=10**6,
        reporter=heard,
    )
    with keeper.following(root):
        time.sleep(0.05)
        assert not kept.exists()
        write_pass(root, 1, shard=100)
        deadline = time.monotonic() + 20
        while not heard.lines:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        first = kept.read_bytes()
        write_pass(root, 2, shard=200)
        time.sleep(0.2)
        assert kept.read_bytes() == first
    keeper.remove()
    assert not kept.parent.exists()
    assert not heard.warnings
