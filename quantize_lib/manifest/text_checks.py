"""Checks of texts and of what they are held to that need more than one place of a manifest."""

from __future__ import annotations

from collections.abc import Sequence

from quantize_lib.command.spec import COMMAND, is_command_limit
from quantize_lib.harness.spec import is_task_limit
from quantize_lib.manifest.evaluate_spec import limits_of
from quantize_lib.manifest.other_builds import COMPARE_WITH, check_builds
from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.tasks import TASKS, check_tasks
from quantize_lib.manifest.test_command import check_command
from quantize_lib.manifest.text import MIX, check_shares, check_text, default_calibration, merge_text
from quantize_lib.manifest.written import Written
from quantize_lib.metrics import LIMITS, NO_WORSE_THAN, split_key
from quantize_lib.plan.cells import CHOOSE, CONVERSATIONS, HELD_OUT, SMALLEST, TEXTS
from quantize_lib.wording import joined


def check_texts(written: Written, *, models: int) -> None:
    """Check texts, and what they are held to, where they are written: a fault of `defaults` is reported once.

    Args:
        models: how many the manifest names; those that rules of `watch` found say what their rules say.
    """
    places: list[KeyPath] = [("defaults", "calibration")]
    rules = written.data.get("watch")
    owners: list[KeyPath] = [("models", index) for index in range(models)]
    owners += [("watch", index) for index in range(len(rules) if isinstance(rules, list) else 0)]
    places += [(*owner, "calibration") for owner in owners]
    held_out = [path for place in ((), *owners) for path in _held_out(written, *place, "evaluate")]
    _check_limits(written, owners)
    _check_choices(written, owners)
    for place in (*places, *held_out):
        check_text(written.at(*place), place, written.base, written.report)
    _check_mixes(written, owners, held_out)
    for place in ((), *owners):
        path = (*place, "evaluate", TASKS)
        check_tasks(written.at(*path) or (), path, written.base, written.report)
        path = (*place, "evaluate", COMPARE_WITH)
        check_builds(written.at(*path) or (), path, written.base, written.report)
        path = (*place, "evaluate", COMMAND)
        if command := written.at(*path):
            check_command(command, path, written.base, written.report)


def _held_out(written: Written, *evaluate: str | int) -> list[KeyPath]:
    """Where the held-out texts of an `evaluate` may stand."""
    further = written.at(*evaluate, TEXTS)
    return [(*evaluate, HELD_OUT), *((*evaluate, TEXTS, name) for name in further)]


def _check_mixes(written: Written, owners: Sequence[KeyPath], held_out: Sequence[KeyPath]) -> None:
    """Report sources of a mix that would get no sample, each where it is written."""
    faults: dict[KeyPath, str] = {}
    shared = ("defaults", "calibration")
    for owner in owners:
        own = written.at(*owner, "calibration")
        merged = merge_text(merge_text(default_calibration(), written.at(*shared)), own)
        check_shares(merged, (*owner, "calibration") if MIX in own else shared, faults.setdefault)
    for path in held_out:
        check_shares(written.at(*path), path, faults.setdefault)
    for path, message in faults.items():
        written.report(path, message)


def _check_limits(written: Written, owners: Sequence[KeyPath]) -> None:
    """Report limits, each where it is written, that some model has no held-out text for."""
    top = written.at("evaluate")
    faults: dict[KeyPath, None] = {}
    for owner in owners:
        own = written.at(*owner, "evaluate")
        given = {**top, **own}
        wanted = [*LIMITS, NO_WORSE_THAN, TEXTS, COMPARE_WITH]
        if isinstance(given.get(CONVERSATIONS), dict):
            wanted.append(CONVERSATIONS)
        for limit in wanted if HELD_OUT not in given else ():
            if limit in given:
                faults[(*owner, "evaluate", limit) if limit in own else ("evaluate", limit)] = None
    for path in faults:
        written.report(path, f"nothing to measure it on; give `{HELD_OUT}`, the held-out text, too.")


def _check_choices(written: Written, owners: Sequence[KeyPath]) -> None:
    """Report a `choose` by nothing: of any two checkpoints one is smaller, however bad it is."""
    top = written.at("evaluate")
    faults: dict[KeyPath, None] = {}
    for owner in owners:
        own = written.at(*owner, "evaluate")
        given = {**top, **own} if written.clean(*owner, "evaluate") else {}
        keys = limits_of(given, written.base) if given else {}
        judging = any(
            is_task_limit(key) or is_command_limit(key) or split_key(key)[1] in LIMITS for key in keys
        )
        if given.get(CHOOSE) == SMALLEST and not judging:
            faults[(*owner, "evaluate", CHOOSE) if CHOOSE in own else ("evaluate", CHOOSE)] = None
    for path in faults:
        limits = joined((f"`{limit}`" for limit in LIMITS), "or")
        written.report(path, f"no limit to choose by; give {limits}, which the smallest has to meet, too.")
