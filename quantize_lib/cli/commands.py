"""What each command does. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping

from quantize_lib.cli.arguments import short_version
from quantize_lib.cli.calibrating import calibrate
from quantize_lib.cli.console.records import show_records
from quantize_lib.cli.families import show_families
from quantize_lib.cli.measuring import benchmark, chat
from quantize_lib.cli.planning import show_plan, validate
from quantize_lib.cli.running import run, run_single_model
from quantize_lib.cli.verifying import verify
from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.reporting import Reporter


def dispatch(options: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command that was asked for and give its exit code.

    Args:
        reporter: the only one of this process: GitHub's limit on annotations holds for all of them together.
    """
    if options.version:
        return _version()
    commands: Mapping[str, Callable[[argparse.Namespace, Reporter], int]] = {
        "validate": validate,
        "plan": show_plan,
        "calibrate": calibrate,
        "run": run,
        "publish": _publish,
        "evaluate": _evaluate,
        "verify": verify,
        "benchmark": benchmark,
        "chat": chat,
        "families": show_families,
        "job": _job,
    }
    if options.command is None:
        if getattr(options, "model", None) is None:
            raise UsageError("no command and no model", hint="model-quantizer --help shows what there is.")
        return run_single_model(options, reporter)
    return commands[options.command](options, reporter)


def _version() -> int:
    from quantize_lib.versions import versions

    print(short_version())
    for name, number in versions().items():
        if name != "model-quantizer":
            print(f"{name} {number}")
    return ExitCode.OK


def _publish(options: argparse.Namespace, reporter: Reporter) -> int:
    from quantize_lib.host.republish import republish
    from quantize_lib.host.take_back import roll_back
    from quantize_lib.report import exit_code

    if options.rollback is not None:
        if options.force:
            raise UsageError("--force belongs to publishing, not to --rollback")
        roll_back(options.directory, options.rollback, reporter)
        return ExitCode.OK
    records = republish(options.directory, reporter, force=options.force)
    show_records(records, reporter)
    return exit_code(records)


def _evaluate(options: argparse.Namespace, reporter: Reporter) -> int:
    from quantize_lib.worker.evaluate_folder import evaluate_folder

    print(
        json.dumps(
            evaluate_folder(
                options.path,
                tuple(options.text or ()),
                samples=options.samples,
                sequence_length=options.sequence_length,
                reporter=reporter,
            ),
            indent=2,
            ensure_ascii=False,
        )
    )
    return ExitCode.OK


def _job(options: argparse.Namespace, reporter: Reporter) -> int:
    if options.answer is not None:
        from quantize_lib.tokenizer.probe import try_tokenizer

        try_tokenizer(options.job, options.answer)
        return ExitCode.OK
    if options.test is not None:
        from quantize_lib.command.run import answer_question

        answer_question(options.job, options.test)
        return ExitCode.OK
    from quantize_lib.environment import end_with_parent
    from quantize_lib.evaluate.template import template
    from quantize_lib.job.events import EventReporter
    from quantize_lib.job.job_file import read_job
    from quantize_lib.worker.run_job import run_job

    if options.events:
        # An executor listens; without it nothing is left to work for.
        end_with_parent()
    job = read_job(options.job)
    with template():
        return run_job(job, EventReporter(sys.stdout) if options.events else reporter)
