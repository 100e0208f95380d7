"""`validate` and `plan`: what a manifest asks for, and what that would cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from quantize_lib.errors import ExitCode, PublishError, QuantizerError, SourceError, UsageError
from quantize_lib.plan.cells import Job, Plan
from quantize_lib.reporting import Reporter

if TYPE_CHECKING:
    from quantize_lib.host.lookups import Lookups
    from quantize_lib.plan.estimate import JobEstimate
    from quantize_lib.plan.verdict import Verdict
    from quantize_lib.publish.base import Publisher


def validate(options: argparse.Namespace, reporter: Reporter) -> int:
    """Check a manifest; no network is used."""
    from quantize_lib.manifest import load_manifest

    plan = load_manifest(options.manifest)
    for warning in plan.warnings:
        reporter.warning(warning)
    cells = sum(1 for _ in plan.cells())
    jobs = len(plan.jobs)
    result = f"{options.manifest} is valid: {cells} {_plural(cells, 'cell')} in {jobs} {_plural(jobs, 'job')}"
    if rules := len(plan.watch):
        result += f"; what {rules} {_plural(rules, 'rule')} of `watch` would add was not looked up"
    print(result)
    return ExitCode.OK


def show_plan(options: argparse.Namespace, reporter: Reporter) -> int:
    """Show cells and jobs with estimates."""
    from quantize_lib.host.changes import changed_only
    from quantize_lib.host.lookups import Lookups
    from quantize_lib.host.watch_plan import plan_with_found
    from quantize_lib.manifest import load_manifest
    from quantize_lib.plan import narrow, plan_github, plan_github_shards, plan_json, plan_table

    if options.shards is not None and options.format == "json":
        raise UsageError(
            "--shards belongs to --format github or table",
            hint="In a plan as JSON each job's `statistics_bytes` says what a shard would leave.",
        )
    lookups = Lookups(reporter)
    manifest = load_manifest(options.manifest)
    verdicts: Mapping[str, Verdict] = {}
    publisher = None
    if options.changed_only or options.format != "github" or manifest.watch:
        publisher = _reader(manifest, reporter)
        plan, verdicts = plan_with_found(
            manifest,
            publisher,
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
        matrix = plan_github(plan) if options.shards is None else plan_github_shards(plan, options.shards)
        print(json.dumps(matrix, ensure_ascii=False))
        return ExitCode.OK
    estimates = _estimates(plan, publisher, verdicts, lookups, reporter)
    if options.format == "json":
        print(json.dumps(plan_json(plan, estimates, verdicts), indent=2, ensure_ascii=False))
    else:
        print(plan_table(plan, estimates, verdicts, shards=options.shards))
    return ExitCode.OK


def _reader(manifest: Plan, reporter: Reporter) -> Publisher | None:
    """What tells of the published state; None where it cannot be asked, which is no error of a plan."""
    from quantize_lib.publish.registry import get_reader

    try:
        return get_reader(manifest.publish)
    except PublishError as error:
        reporter.warning(f"every cell counts as changed: {error.message}")
        return None


def _estimates(
    plan: Plan,
    publisher: Publisher | None,
    verdicts: Mapping[str, Verdict],
    lookups: Lookups,
    reporter: Reporter,
) -> dict[str, JobEstimate]:
    """Estimates by job id; every job's error is reported before the first one ends the command."""
    from quantize_lib.host.card_check import card_warnings, check_cards
    from quantize_lib.host.prepare import cautions, check_texts, look
    from quantize_lib.host.terms_notice import terms_warnings
    from quantize_lib.plan.estimate import estimate_job

    estimates: dict[str, JobEstimate] = {}
    told: list[QuantizerError] = []
    errors: list[QuantizerError] = []
    lookups.tokenizers.look_up(plan.jobs)
    for job in plan.jobs:
        try:
            seen = look(job, lookups)
            job, facts = seen.job, seen.facts
            errors += seen.refused.values()
            check_texts(job, lookups)
            if any(cell.id not in verdicts or verdicts[cell.id].build for cell in job.cells):
                check_cards(job, facts, plan.publish, publisher)
        except QuantizerError as error:
            # Jobs of one model or text have one error.
            if error not in told:
                told.append(error)
                errors.append(_named(job, error))
        else:
            if not job.cells:
                continue
            estimates[job.id] = estimate_job(job, facts, seen.group_sizes)
            for warning in card_warnings(job, facts, plan.publish):
                reporter.warning(warning)
            for cell in job.cells:
                for caution in cautions(cell, facts):
                    reporter.warning(f"{cell.id}: {caution}")
                for warning in terms_warnings(cell, facts.terms, plan.publish):
                    reporter.warning(warning)
    for earlier in errors[:-1]:
        reporter.error(str(earlier))
    if errors:
        raise errors[-1]
    return estimates


def _named(job: Job, error: QuantizerError) -> QuantizerError:
    """An error with the model that it is of: what is said of config.json or a shard names the file alone."""
    if not isinstance(error, SourceError) or job.model.id in error.message:
        return error
    return SourceError(f"{job.model.id}: {error.message}", hint=error.hint)


def _plural(count: int, word: str) -> str:
    return word if count == 1 else word + "s"
