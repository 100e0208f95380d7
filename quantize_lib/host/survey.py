"""Compares a plan with what is published: one request for each cell, one for each model and data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantize_lib import __version__
from quantize_lib.errors import CalibrationError, PublishError, SourceError
from quantize_lib.host.chosen_before import settled
from quantize_lib.host.lookups import Identity, Lookups
from quantize_lib.parallel import in_parallel
from quantize_lib.plan.cells import Cell, Job, Plan
from quantize_lib.plan.choices import choices_of
from quantize_lib.plan.fingerprint import INPUTS
from quantize_lib.plan.verdict import Reason, Verdict
from quantize_lib.publish.base import PublishedState, Publisher
from quantize_lib.reporting import Reporter
from quantize_lib.wording import show

_CHANGED = {
    "base": "the base model changed",
    "settings": "the settings changed",
    "calibration": "the calibration data changed",
}
_SHOWN_DIGITS = 12
_WARNINGS = 5


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """What was found out of a plan before its run.

    Attributes:
        lookups: with the models and texts that were looked at.
        verdicts: by cell id.
    """

    lookups: Lookups
    verdicts: Mapping[str, Verdict]


def survey(
    plan: Plan,
    publisher: Publisher | None,
    lookups: Lookups,
    reporter: Reporter,
    *,
    force: bool = False,
) -> dict[str, Verdict]:
    """What is to be built of a plan and why, by cell id.

    Models and texts are looked at only where something is published that they could be compared with.

    Args:
        publisher: knows what is published; without one nothing is compared.
        lookups: gets to know the models and texts that were needed.
        force: build everything, whatever is published.
    """
    cells = list(plan.cells())
    if force:
        return {cell.id: Verdict(build=True, reasons=("forced",), text="forced") for _, cell in cells}
    if publisher is None:
        unknown = Verdict(build=True, reasons=("unknown",), text="not compared with what is published")
        return {cell.id: unknown for _, cell in cells}
    states = in_parallel(lambda pair: _current(publisher, pair[1]), cells)
    _warn(states, reporter)
    by_cell = {cell.id: state for (_, cell), state in zip(cells, states, strict=True)}
    lookups.look_up(
        job for job in plan.jobs if any(isinstance(by_cell[cell.id], PublishedState) for cell in job.cells)
    )
    verdicts = {
        cell.id: _judge(job, cell, by_cell[cell.id], lookups, by_version=plan.publish.rebuild_on_new_version)
        for job, cell in cells
    }
    if publisher.proposes:
        asked = [(job, cell) for job, cell in cells if _may_wait(verdicts[cell.id])]
        lookups.look_up(job for job, _ in asked)
        found = in_parallel(
            lambda pair: _proposed(publisher, *pair, lookups, verdicts[pair[1].id]),
            asked,
        )
        verdicts |= {cell.id: verdict for (_, cell), verdict in zip(asked, found, strict=True)}
    for choice in choices_of(plan):
        verdicts |= settled(choice, verdicts, by_cell, lookups)
    return verdicts


def _may_wait(verdict: Verdict) -> bool:
    return verdict.build and "unknown" not in verdict.reasons


def _proposed(publisher: Publisher, job: Job, cell: Cell, lookups: Lookups, verdict: Verdict) -> Verdict:
    """Not to be built again while a pull request has it, nor after somebody closed that."""
    try:
        found = publisher.proposed(cell.repository, lookups.identity(cell, job).fingerprint)
    except (SourceError, CalibrationError, PublishError):
        # Whatever it is, the run meets it again and tells.
        return verdict
    if found is None:
        return verdict
    if found.waits:
        text = f"it waits in a pull request: {found.url}"
    else:
        text = f"its pull request was closed ({found.url}); --force builds it again"
    reason: Reason = "proposed" if found.waits else "rejected"
    return replace(verdict, build=False, reasons=(reason,), text=text, url=found.url)


def _current(publisher: Publisher, cell: Cell) -> PublishedState | PublishError | None:
    try:
        return publisher.current(cell.repository, cell.part)
    except PublishError as error:
        return error


def _warn(states: list[PublishedState | PublishError | None], reporter: Reporter) -> None:
    """Say where the state cannot be found out, but of a Hub out of reach not a thousand times."""
    errors = [str(state) for state in states if isinstance(state, PublishError)]
    for error in errors[:_WARNINGS]:
        reporter.warning(error)
    if len(errors) > _WARNINGS:
        reporter.warning(f"… and {len(errors) - _WARNINGS} more repositories that cannot be looked at")


def _judge(
    job: Job,
    cell: Cell,
    state: PublishedState | PublishError | None,
    lookups: Lookups,
    *,
    by_version: bool,
) -> Verdict:
    if isinstance(state, PublishError):
        return Verdict(build=True, reasons=("unknown",), text="what is published cannot be looked at")
    if state is None or (state.fingerprint is None and not state.rejected):
        return Verdict(build=True, reasons=("new",), text="never published")
    try:
        identity = lookups.identity(cell, job)
    except (SourceError, CalibrationError) as error:
        return Verdict(build=True, reasons=("unknown",), text=f"cannot be compared: {error.message}")
    if identity.fingerprint in state.rejected:
        return Verdict(
            build=False,
            reasons=("rejected",),
            text="this very checkpoint was taken back (publish --rollback); --force builds it again",
            commit=state.commit,
        )
    if state.fingerprint is None:
        return Verdict(build=True, reasons=("new",), text="never published whole", commit=state.commit)
    if identity.fingerprint != state.fingerprint:
        return _changed(identity, state)
    if by_version and state.version != __version__:
        was = show(state.version) if state.version else "an unknown version"
        return Verdict(
            build=True,
            reasons=("tool",),
            text=f"the tool's version changed: {was} → `{__version__}`",
            commit=state.commit,
        )
    return Verdict(build=False, reasons=("unchanged",), text="unchanged", commit=state.commit)


def _changed(identity: Identity, state: PublishedState) -> Verdict:
    """Which of the fingerprint's parts are others, as far as the published card says what they were."""
    reasons: list[Reason] = []
    texts = []
    for name in INPUTS:
        old, new = state.inputs.get(name), identity.inputs.get(name)
        if old is None or old == new:
            continue
        # INPUTS are among the reasons.
        reasons.append(name)
        text = _CHANGED[name]
        if name == "base" and new is not None:
            text += f": {_brief(old)} → {_brief(new)}"
        texts.append(text)
    if not reasons:
        reasons, texts = ["changed"], ["it was published with other settings or data"]
    return Verdict(build=True, reasons=tuple(reasons), text=", ".join(texts), commit=state.commit)


def _brief(revision: str) -> str:
    return revision.removeprefix("sha256:")[:_SHOWN_DIGITS]
