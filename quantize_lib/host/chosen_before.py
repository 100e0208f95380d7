"""What a choice that an earlier run made and published says of the cells that took part in it.

Only the one that was chosen is published, so it speaks for the others: its repository says by what it was
chosen. As long as that is the same, none of them is built; else all are, as the choice needs all figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quantize_lib.errors import CalibrationError, PublishError, SourceError
from quantize_lib.host.lookups import Lookups
from quantize_lib.plan.cells import Cell, Job
from quantize_lib.plan.choices import Choice
from quantize_lib.plan.fingerprint import choice_digest
from quantize_lib.plan.verdict import Verdict
from quantize_lib.publish.base import PublishedState


def settled(
    choice: Choice,
    verdicts: Mapping[str, Verdict],
    states: Mapping[str, PublishedState | PublishError | None],
    lookups: Lookups,
) -> dict[str, Verdict]:
    """What is to be built of the cells of a choice, by cell id.

    One that was taken back keeps its verdict and takes no part.

    Args:
        verdicts: what is said of each cell where it is alone.
        states: what is published of each cell, or why that cannot be said.
    """
    standing = [(job, cell) for job, cell in choice.cells if "rejected" not in verdicts[cell.id].reasons]
    own = {cell.id: verdicts[cell.id] for _, cell in choice.cells}
    winner = _chosen(standing, verdicts, states, lookups)
    if winner is not None:
        text = f"{winner} was chosen in its place, and nothing changed that the choice follows from"
    else:
        winner = next((cell.id for _, cell in standing if "proposed" in verdicts[cell.id].reasons), None)
        text = f"{winner} was chosen in its place, and {verdicts[winner].text}" if winner is not None else ""
    for _, cell in standing:
        if winner is None and not own[cell.id].build:
            again = "another cell or a limit of the model changed since the choice, or no choice was made"
            own[cell.id] = replace(own[cell.id], build=True, reasons=("choice",), text=again)
        elif winner not in (None, cell.id):
            own[cell.id] = Verdict(build=False, reasons=("not_chosen",), text=text)
    return own


def _chosen(
    standing: list[tuple[Job, Cell]],
    verdicts: Mapping[str, Verdict],
    states: Mapping[str, PublishedState | PublishError | None],
    lookups: Lookups,
) -> str | None:
    """The cell that was chosen by what the choice would follow from now, and is published unchanged."""
    choices = {
        cell.id: state.choice
        for _, cell in standing
        if "unchanged" in verdicts[cell.id].reasons
        and isinstance(state := states[cell.id], PublishedState)
        and state.choice is not None
    }
    if not choices:
        # Then no model and text need be looked at.
        return None
    try:
        fingerprints = [lookups.identity(cell, job).fingerprint for job, cell in standing]
    except (SourceError, CalibrationError):
        # The run meets it again and tells.
        return None
    limits = standing[0][0].evaluate.limits
    now = choice_digest(fingerprints, limits)
    return next((identity for identity, made in choices.items() if made == now), None)
