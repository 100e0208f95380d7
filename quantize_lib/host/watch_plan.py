"""A manifest's plan with the models that its rules find, as many as one run may take on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from quantize_lib.devices import DeviceName
from quantize_lib.errors import CalibrationError, QuantizerError
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.prepare import check_texts, look
from quantize_lib.host.survey import survey
from quantize_lib.manifest import expand
from quantize_lib.parallel import in_parallel
from quantize_lib.plan import narrow
from quantize_lib.plan.cells import Job, Plan
from quantize_lib.plan.verdict import Verdict
from quantize_lib.publish.base import Publisher
from quantize_lib.reporting import Reporter
from quantize_lib.source.watch import find_models


def plan_with_found(
    manifest: Plan,
    publisher: Publisher | None,
    lookups: Lookups,
    reporter: Reporter,
    *,
    only: Sequence[str] = (),
    device: DeviceName = "auto",
    force: bool = False,
) -> tuple[Plan, dict[str, Verdict]]:
    """The plan, and what `survey` says of its cells.

    A found model that cannot be quantized is passed over, and does not count for its rule's limit; nor does
    one without anything to build. `only` names cells that somebody chose already: no limit holds for them.

    Args:
        manifest: its own plan, with rules or without.
        publisher, lookups, force: as for `survey`.
        only, device: as for `narrow`.

    Raises:
        SourceError: where a rule's organization or collection cannot be looked up.
        UsageError: where found models have names that are others' too, and as `narrow`.
    """
    found = () if _names_only(manifest, only) else _find(manifest, reporter)
    plan = narrow(expand(manifest, found), only=only, device=device)
    verdicts = survey(plan, publisher, lookups, reporter, force=force)
    if found and not only:
        plan = _limited(
            plan, {identity: index for index, identity in found}, manifest, verdicts, lookups, reporter
        )
    return plan, verdicts


def _names_only(manifest: Plan, only: Sequence[str]) -> bool:
    """Whether the manifest itself has every cell that was asked for, so that no rule need be looked up."""
    written = {cell.id for _, cell in manifest.cells()}
    return bool(only) and written.issuperset(only)


def _find(manifest: Plan, reporter: Reporter) -> tuple[tuple[int, str], ...]:
    """Hub ids with their rule's index; none that the manifest names itself, and none twice."""
    taken = {model["id"].casefold() for model in manifest.data.get("models", ())}
    found: list[tuple[int, str]] = []
    for index, models in enumerate(in_parallel(find_models, manifest.watch)):
        new = [identity for identity in models if identity.casefold() not in taken]
        taken.update(identity.casefold() for identity in new)
        found += [(index, identity) for identity in new]
        rule = manifest.watch[index]
        reporter.info(f"watch[{index}] finds {len(new)} models in {rule.organization or rule.collection}")
    return tuple(found)


def _limited(
    plan: Plan,
    rules: Mapping[str, int],
    manifest: Plan,
    verdicts: Mapping[str, Verdict],
    lookups: Lookups,
    reporter: Reporter,
) -> Plan:
    jobs = []
    kept: dict[str, bool] = {}
    taken: Counter[int] = Counter()
    waiting: Counter[int] = Counter()
    for job in plan.jobs:
        identity = job.model.id
        # A local folder is written in the manifest, and no Hub id.
        rule = rules.get(identity) if job.model.local is None else None
        if rule is None or not any(verdicts[cell.id].build for cell in job.cells):
            jobs.append(job)
            continue
        if identity not in kept:
            kept[identity] = taken[rule] < manifest.watch[rule].limit
            if not kept[identity]:
                waiting[rule] += 1
            else:
                fault = _fault(job, lookups)
                if fault is not None:
                    reporter.info(f"watch[{rule}] passes over {identity}: {fault.message}")
                    kept[identity] = False
                else:
                    taken[rule] += 1
        if kept[identity]:
            jobs.append(job)
    for rule, count in sorted(waiting.items()):
        limit = manifest.watch[rule].limit
        reporter.info(f"watch[{rule}]: {count} more models wait for the next runs (limit: {limit})")
    return replace(plan, jobs=tuple(jobs))


def _fault(job: Job, lookups: Lookups) -> QuantizerError | None:
    """Why a found model cannot be quantized; None also where the text is wrong, which its run tells."""
    try:
        check_texts(job, lookups)
    except CalibrationError:
        return None
    try:
        look(job, lookups)
    except QuantizerError as error:
        return error
    return None
