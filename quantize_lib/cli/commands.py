"""What each command does. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.cli.arguments import short_version
from quantize_lib.errors import ExitCode, PublishError, QuantizerError, UsageError
from quantize_lib.plan.cells import Plan
from quantize_lib.report.records import CellRecord
from quantize_lib.reporting import Reporter

if TYPE_CHECKING:
    from quantize_lib.host.lookups import Lookups
    from quantize_lib.host.run_plan import Executor
    from quantize_lib.host.survey import Surveyed
    from quantize_lib.plan.estimate import JobEstimate
    from quantize_lib.plan.verdict import Verdict
    from quantize_lib.publish.base import Publisher

_TIMEOUT_SECONDS = 24 * 3600


def dispatch(options: argparse.Namespace) -> int:
    """Run the command that was asked for and give its exit code."""
    if options.version:
        return _version()
    commands: Mapping[str, Callable[[argparse.Namespace], int]] = {
        "validate": _validate,
        "plan": _plan,
        "run": _run,
        "publish": _publish,
        "evaluate": _evaluate,
        "job": _job,
    }
    if options.command is None:
        if getattr(options, "model", None) is None:
            raise UsageError("no command and no model", hint="model-quantizer --help shows what there is.")
        return _single_model(options)
    return commands[options.command](options)


def show_error(error: QuantizerError) -> None:
    """Show an error on standard error, in a workflow also as annotations."""
    _reporter().error(str(error))


def _reporter() -> Reporter:
    from quantize_lib.cli.console import make_reporter

    # What programs read (plan --format json) goes to standard output alone; people's lines go beside it.
    return make_reporter(sys.stderr, os.environ)


def _version() -> int:
    from quantize_lib.versions import versions

    print(short_version())
    for name, number in versions().items():
        if name != "model-quantizer":
            print(f"{name} {number}")
    return ExitCode.OK


def _validate(options: argparse.Namespace) -> int:
    from quantize_lib.manifest import load_manifest

    plan = load_manifest(options.manifest)
    reporter = _reporter()
    for warning in plan.warnings:
        reporter.warning(warning)
    cells = sum(1 for _ in plan.cells())
    jobs = len(plan.jobs)
    said = f"{options.manifest} is valid: {cells} {_plural(cells, 'cell')} in {jobs} {_plural(jobs, 'job')}"
    if rules := len(plan.watch):
        said += f"; what {rules} {_plural(rules, 'rule')} of `watch` would add was not looked up"
    print(said)
    return ExitCode.OK


def _plan(options: argparse.Namespace) -> int:
    from quantize_lib.host.changes import changed_only
    from quantize_lib.host.lookups import Lookups
    from quantize_lib.host.watch_plan import plan_with_found
    from quantize_lib.manifest import load_manifest
    from quantize_lib.plan import narrow, plan_github, plan_json, plan_table

    reporter = _reporter()
    lookups = Lookups(reporter)
    manifest = load_manifest(options.manifest)
    verdicts: Mapping[str, Verdict] = {}
    if options.changed_only or options.format != "github" or manifest.watch:
        plan, verdicts = plan_with_found(
            manifest,
            _reader(manifest, reporter),
            lookups,
            reporter,
            only=options.only,
            device=options.device,
            force=options.force,
        )
    else:
        plan = narrow(manifest, only=options.only, device=options.device)
    for warning in plan.warnings:
        reporter.warning(warning)
    if options.changed_only:
        plan = changed_only(plan, verdicts, lookups, reporter)
    if options.format == "github":
        print(json.dumps(plan_github(plan), ensure_ascii=False))
        return ExitCode.OK
    estimates = _estimates(plan, lookups, reporter)
    if options.format == "json":
        print(json.dumps(plan_json(plan, estimates, verdicts), indent=2, ensure_ascii=False))
    else:
        print(plan_table(plan, estimates, verdicts))
    return ExitCode.OK


def _reader(manifest: Plan, reporter: Reporter) -> Publisher | None:
    """What tells of the published state; None where it cannot be asked, which is no error of a plan."""
    from quantize_lib.publish.registry import get_reader

    try:
        return get_reader(manifest.publish)
    except PublishError as error:
        reporter.warning(f"every cell counts as changed: {error.message}")
        return None


def _estimates(plan: Plan, lookups: Lookups, reporter: Reporter) -> dict[str, JobEstimate]:
    """Estimates by job id; every job's error is told before the first one ends the command."""
    from quantize_lib.host.prepare import look
    from quantize_lib.host.terms_notice import terms_warnings
    from quantize_lib.plan.estimate import estimate_job

    estimates: dict[str, JobEstimate] = {}
    errors: list[QuantizerError] = []
    for job in plan.jobs:
        try:
            facts, sizes = look(job, lookups)
        except QuantizerError as error:
            errors.append(error)
        else:
            estimates[job.id] = estimate_job(job, facts, sizes)
            for cell in job.cells:
                for warning in terms_warnings(cell, facts.terms, plan.publish):
                    reporter.warning(warning)
    for earlier in errors[:-1]:
        reporter.error(str(earlier))
    if errors:
        raise errors[-1]
    return estimates


def _run(options: argparse.Namespace) -> int:
    from quantize_lib.host.lookups import Lookups
    from quantize_lib.host.survey import Surveyed
    from quantize_lib.host.watch_plan import plan_with_found
    from quantize_lib.manifest import load_manifest
    from quantize_lib.plan import narrow
    from quantize_lib.publish.registry import get_publisher

    manifest = load_manifest(options.manifest)
    publisher = get_publisher(manifest.publish) if options.publish else None
    surveyed = None
    if manifest.watch:
        lookups = Lookups(_reporter())
        plan, verdicts = plan_with_found(
            manifest,
            publisher,
            lookups,
            _reporter(),
            only=options.only,
            device=options.device,
            force=options.force,
        )
        surveyed = Surveyed(lookups=lookups, verdicts=verdicts)
    else:
        plan = narrow(manifest, only=options.only, device=options.device)
    execute = _executor(options, plan)
    command = ["model-quantizer", "run", options.manifest.name]
    log = options.output / "log.txt"
    return _execute(
        plan,
        options.output,
        log,
        publisher,
        shlex.join(command),
        execute,
        force=options.force,
        surveyed=surveyed,
        max_memory=options.max_memory,
    )


def _executor(options: argparse.Namespace, plan: Plan) -> Executor:
    if options.executor == "local":
        for name in ("image", "memory", "timeout"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} belongs to --executor docker")
        return _local_executor(plan)
    if options.max_memory is not None:
        raise UsageError("--max-memory belongs to --executor local", hint="A container's limit is --memory.")
    from quantize_lib.executors.docker.executor import DockerExecutor, DockerOptions

    return DockerExecutor.open(
        DockerOptions(
            image=options.image, memory=options.memory, timeout=options.timeout or _TIMEOUT_SECONDS
        ),
        {job.device for job in plan.jobs},
        _reporter(),
    )


def _local_executor(plan: Plan) -> Executor:
    from quantize_lib.executors.local import run_local

    _refuse_foreign_code(plan)
    return run_local


def _execute(
    plan: Plan,
    output: Path,
    log: Path,
    publisher: Publisher | None,
    command: str,
    execute: Executor,
    *,
    force: bool = False,
    surveyed: Surveyed | None = None,
    max_memory: int | None = None,
) -> int:
    from quantize_lib.host.run_plan import RunOptions, run_plan

    run_options = RunOptions(
        output=output.absolute(),
        publisher=publisher,
        execute=execute,
        command=command,
        log=log.absolute(),
        show=_show,
        force=force,
        surveyed=surveyed,
        max_memory=max_memory,
    )
    return run_plan(plan, run_options, _reporter()).code


def _show(records: Sequence[CellRecord]) -> None:
    from quantize_lib.cli.console import append_summary
    from quantize_lib.cli.console.github import neutralise
    from quantize_lib.report import summary_markdown, summary_table

    table = summary_table(records)
    # Errors quote foreign names, and a workflow obeys commands on any stream.
    print(neutralise(table) if os.environ.get("GITHUB_ACTIONS") == "true" else table)
    append_summary(summary_markdown(records), os.environ)


def _refuse_foreign_code(plan: Plan) -> None:
    for job in plan.jobs:
        for key in ("trust_remote_code", "allow_pickle"):
            if getattr(job.model, key):
                raise UsageError(
                    f"{job.model.id}: {key} runs code of the model's author, which needs --executor docker",
                    hint=f"Remove {key}, or add --executor docker.",
                )


def _single_model(options: argparse.Namespace) -> int:
    from quantize_lib.host.output_folder import JOBS, STATE, replace_folder
    from quantize_lib.manifest import single_model_plan

    plan = single_model_plan(
        options.model,
        method=options.method,
        bits=options.bits,
        output_dir=options.output_dir,
        device=options.device,
        calibration_dataset=options.calibration_dataset,
        group_size=options.group_size,
        desc_act=options.desc_act,
        sym=options.sym,
    )
    ((_, cell),) = plan.cells()
    target = plan.publish.path / cell.repository
    _check_target(target)
    work = target.parent / f".{target.name}.run"
    # Hidden: `> NAME.log` may be where the user sends our own output.
    log = target.parent / f".{target.name}.log"
    reporter = _reporter()
    try:
        command = shlex.join(["model-quantizer", *sys.argv[1:]])
        code = _execute(plan, work, log, None, command, _local_executor(plan))
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


def _publish(options: argparse.Namespace) -> int:
    from quantize_lib.host.republish import republish
    from quantize_lib.host.take_back import roll_back
    from quantize_lib.report import exit_code

    if options.rollback is not None:
        if options.force:
            raise UsageError("--force belongs to publishing, not to --rollback")
        roll_back(options.directory, options.rollback, _reporter())
        return ExitCode.OK
    records = republish(options.directory, _reporter(), force=options.force)
    _show(records)
    return exit_code(records)


def _evaluate(options: argparse.Namespace) -> int:
    from quantize_lib.worker.evaluate_folder import evaluate_folder

    print(
        json.dumps(
            evaluate_folder(
                options.path,
                tuple(options.text or ()),
                samples=options.samples,
                sequence_length=options.sequence_length,
                reporter=_reporter(),
            ),
            indent=2,
            ensure_ascii=False,
        )
    )
    return ExitCode.OK


def _job(options: argparse.Namespace) -> int:
    from quantize_lib.environment import end_with_parent
    from quantize_lib.job.events import EventReporter
    from quantize_lib.job.job_file import read_job
    from quantize_lib.worker.run_job import run_job

    if options.events:
        # An executor listens; without it nothing is left to work for.
        end_with_parent()
    reporter: Reporter = EventReporter(sys.stdout) if options.events else _reporter()
    return run_job(read_job(options.job), reporter)


def _plural(count: int, word: str) -> str:
    return word if count == 1 else word + "s"
