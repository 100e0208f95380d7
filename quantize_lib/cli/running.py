"""`run`, and the form for one model: from a plan to checkpoints."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.cli.console.records import show_records
from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.harness.travel import check_travels
from quantize_lib.plan.cells import Plan
from quantize_lib.reporting import Reporter

if TYPE_CHECKING:
    from quantize_lib.executors.docker.executor import DockerExecutor
    from quantize_lib.host.given_statistics import GivenStatistics
    from quantize_lib.host.run_options import Executor
    from quantize_lib.host.survey import Surveyed
    from quantize_lib.kept_state.base import Store
    from quantize_lib.publish.base import Publisher

_TIMEOUT_SECONDS = 24 * 3600


def run(options: argparse.Namespace, reporter: Reporter) -> int:
    """Quantize, check and publish what a manifest asks for."""
    from quantize_lib.host.given_statistics import GivenStatistics
    from quantize_lib.host.lookups import Lookups
    from quantize_lib.host.survey import Surveyed
    from quantize_lib.host.watch_plan import plan_with_found
    from quantize_lib.kept_state.base import get_store
    from quantize_lib.manifest import load_manifest
    from quantize_lib.plan import narrow
    from quantize_lib.publish.registry import get_publisher

    manifest = load_manifest(options.manifest)
    statistics = GivenStatistics.find(options.statistics)
    publisher = get_publisher(manifest.publish) if options.publish else None
    store = get_store(manifest.state) if options.state else None
    surveyed = None
    if manifest.watch:
        lookups = Lookups(reporter)
        plan, verdicts = plan_with_found(
            manifest,
            publisher,
            lookups,
            reporter,
            only=options.only,
            device=options.device,
            force=options.force,
        )
        surveyed = Surveyed(lookups=lookups, verdicts=verdicts)
    else:
        plan = narrow(manifest, only=options.only, device=options.device)
    execute, docker = choose_executor(options, plan, reporter)
    command = ["model-quantizer", "run", options.manifest.name]
    log = options.output / "log.txt"
    return _execute(
        plan,
        options.output,
        log,
        publisher,
        shlex.join(command),
        execute,
        reporter,
        force=options.force,
        surveyed=surveyed,
        max_memory=options.max_memory,
        docker=docker,
        statistics=statistics,
        store=store,
    )


def choose_executor(
    options: argparse.Namespace, plan: Plan, reporter: Reporter
) -> tuple[Executor, DockerExecutor | None]:
    """What runs the jobs, and the same as the Docker executor where it is one."""
    if options.executor == "local":
        for name in ("image", "memory", "timeout"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} belongs to --executor docker")
        return _local_executor(plan), None
    if options.max_memory is not None:
        raise UsageError("--max-memory belongs to --executor local", hint="A container's limit is --memory.")
    for job in plan.jobs:
        for task in job.evaluate.tasks:
            check_travels(task)
    from quantize_lib.executors.docker.executor import DockerExecutor, DockerOptions

    docker = DockerExecutor.open(
        DockerOptions(
            image=options.image, memory=options.memory, timeout=options.timeout or _TIMEOUT_SECONDS
        ),
        {job.device for job in plan.jobs},
        reporter,
    )
    return docker, docker


def _local_executor(plan: Plan) -> Executor:
    from quantize_lib.executors.local import run_local

    _refuse_foreign_code(plan)
    tasks = any(job.evaluate.tasks for job in plan.jobs)
    if tasks and importlib.util.find_spec("lm_eval") is None:
        raise UsageError(
            "evaluate.tasks needs lm-evaluation-harness, which is not installed here",
            hint="Install the extra `tasks`: pip install 'model-quantizer-action[tasks]'",
        )
    return run_local


def _execute(
    plan: Plan,
    output: Path,
    log: Path,
    publisher: Publisher | None,
    command: str,
    execute: Executor,
    reporter: Reporter,
    *,
    force: bool = False,
    surveyed: Surveyed | None = None,
    max_memory: int | None = None,
    docker: DockerExecutor | None = None,
    statistics: GivenStatistics | None = None,
    store: Store | None = None,
) -> int:
    from quantize_lib.executors.local_command import run_command_here
    from quantize_lib.host.run_options import RunOptions
    from quantize_lib.host.run_plan import run_plan

    run_options = RunOptions(
        output=output.absolute(),
        publisher=publisher,
        execute=execute,
        command=command,
        log=log.absolute(),
        show=lambda records: show_records(records, reporter),
        force=force,
        surveyed=surveyed,
        max_memory=max_memory,
        statistics=statistics,
        store=store,
        # Where this process cannot try one.
        try_tokenizer=None if docker is None else docker.try_tokenizer,
        run_command=run_command_here if docker is None else docker.run_command,
        image=None if docker is None else docker.pinned_image,
    )
    return run_plan(plan, run_options, reporter).code


def _refuse_foreign_code(plan: Plan) -> None:
    for job in plan.jobs:
        for key in ("trust_remote_code", "allow_pickle"):
            if getattr(job.model, key):
                raise UsageError(
                    f"{job.model.id}: {key} runs code of the model's author, which needs --executor docker",
                    hint=f"Remove {key}, or add --executor docker.",
                )


def run_single_model(options: argparse.Namespace, reporter: Reporter) -> int:
    """The form for one model: quantize it into a folder."""
    from quantize_lib.host.output_folder import JOBS, STATE, replace_folder
    from quantize_lib.manifest import single_model_plan
    from quantize_lib.targets.directory import PATH

    plan = single_model_plan(
        options.model,
        method=options.method,
        bits=options.bits,
        format=options.format,
        output_dir=options.output_dir,
        device=options.device,
        calibration_dataset=options.calibration_dataset,
        group_size=options.group_size,
        desc_act=options.desc_act,
        sym=options.sym,
    )
    ((_, cell),) = plan.cells()
    target = plan.publish[PATH] / cell.repository
    _check_target(target)
    work = target.parent / f".{target.name}.run"
    # Hidden: `> NAME.log` may be where the user sends our own output.
    log = target.parent / f".{target.name}.log"
    try:
        command = shlex.join(["model-quantizer", *sys.argv[1:]])
        code = _execute(plan, work, log, None, command, _local_executor(plan), reporter)
        if code == ExitCode.OK:
            replace_folder(work / cell.id, target, work)
            log.unlink(missing_ok=True)
            reporter.info(f"The checkpoint is in {target}")
        elif log.exists() and log.stat().st_size:
            reporter.info(f"What the libraries printed is in {log}")
        else:
            log.unlink(missing_ok=True)
    finally:
        # A finished checkpoint or block is kept: the same command goes on from there.
        if not (work / cell.id).exists() and not (work / STATE / JOBS).exists():
            _remove(work)
    return code


def _remove(work: Path) -> None:
    """Remove a run's folder, unless it is another run that works in it."""
    import shutil

    from quantize_lib.host.output_folder import working_in

    if work.exists():
        with suppress(UsageError), working_in(work):
            shutil.rmtree(work)


def _check_target(target: Path) -> None:
    """An older checkpoint of ours is replaced; anything else that lies there is not ours to remove."""
    from quantize_lib.report.records import RECORD_FILE

    if (
        target.exists()
        and not (target / RECORD_FILE).is_file()
        and (not target.is_dir() or any(target.iterdir()))
    ):
        raise UsageError(
            f"--output-dir: {target} is there already, and is no checkpoint of this tool",
            hint="Choose another folder, or remove it.",
        )
