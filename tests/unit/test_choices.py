"""Which of a model's cells is published, what becomes of the others, and what a later run makes of it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.card.state import card_state
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import ErrorCode, ExitCode
from quantize_lib.files import read_json
from quantize_lib.host.choices import Choices, chosen, passed_over
from quantize_lib.host.command_runs import CommandRuns
from quantize_lib.host.finish import Finisher
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.siblings import Siblings
from quantize_lib.host.survey import survey
from quantize_lib.manifest import parse_manifest
from quantize_lib.plan.cells import Plan
from quantize_lib.plan.fingerprint import choice_digest, known_choice
from quantize_lib.plan.verdict import Verdict
from quantize_lib.publish.base import Proposed, PublishedState
from quantize_lib.report import exit_code, record_from_json, record_to_json, summary_markdown, summary_table
from quantize_lib.report.records import CellRecord, CellStatus
from tests.support.model_files import write_model
from tests.support.publications import checkpoint
from tests.support.records import MEASURED, RECORD
from tests.support.shelf import Shelf

LIMITS = {"max_kl_divergence": 0.2}
BUILD = Verdict(build=True, reasons=("new",), text="never published")


def record(name: str, size: int, status: CellStatus = "built") -> CellRecord:
    """A finished cell."""
    values: dict[str, Any] = (
        {"error": "KL divergence is too large", "code": ErrorCode.GATE} if status == "gated" else {}
    )
    return replace(
        RECORD,
        id=name,
        status=status,
        measurements=replace(MEASURED, size_after=size),
        path=name,
        commit=None,
        fingerprint=name * 16,
        **values,
    )


A, B, C = record("aaaa", 300_000_000), record("bbbb", 160_000_000), record("cccc", 113_000_000)
MISSED = record("cccc", 113_000_000, "gated")
FAILED = replace(record("dddd", 1, "failed"), error="no memory", measurements=None, path=None)


def plan(folder: Path, *, choose: str = "smallest", limit: float = 0.2) -> Plan:
    """Three cells of one model, `aaaa`, `bbbb` and `cccc`."""
    write_model(folder / "model")
    words = {
        "version": 1,
        "models": [
            {
                "id": "./model",
                "quantize": [
                    {"method": "bitsandbytes", "bits": 8, "name": "aaaa"},
                    {"method": "bitsandbytes", "bits": 4, "name": "bbbb"},
                    {"method": "bitsandbytes", "bits": 4, "name": "cccc", "quant_type": "fp4"},
                ],
            }
        ],
        "evaluate": {"perplexity": {"texts": ["t"]}, "max_kl_divergence": limit, "choose": choose},
    }
    return parse_manifest(json.dumps(words), path=folder / "quantize.yml")


def test_the_smallest_that_meets_its_limits_is_chosen() -> None:
    assert chosen([A, B, C]) is C
    assert chosen([A, B, MISSED, FAILED]) is B
    assert chosen([A, replace(B, error="its card cannot be read"), MISSED]) is A
    assert chosen([MISSED, FAILED]) is None
    assert chosen([]) is None


def test_of_equals_the_first_is_chosen() -> None:
    same = replace(C, id="same")
    assert chosen([A, same, C]) is same
    assert passed_over(C, same).not_chosen == (
        "one of the same size that comes first, same, meets the limits: 113.0 MB"
    )


def test_the_others_say_why_they_are_not_published() -> None:
    other = passed_over(B, C)
    assert (other.status, other.error, other.code) == ("skipped", None, None)
    assert other.not_chosen == "a smaller one, cccc, meets the limits: 113.0 MB beside 160.0 MB"
    missed = passed_over(MISSED, B)
    assert (missed.status, missed.error, missed.code) == ("skipped", None, None)
    assert missed.not_chosen == "KL divergence is too large; bbbb is chosen in its place"
    assert passed_over(FAILED, B) is FAILED


def test_a_reason_is_shown_and_kept_in_the_report_but_not_in_the_checkpoint() -> None:
    other = passed_over(B, C)
    assert "bbbb: a smaller one, cccc, meets" in summary_table([other])
    assert "- **bbbb**: a smaller one, cccc, meets" in summary_markdown([other])
    data = record_to_json(replace(other, choice="sha256:" + "0" * 16))
    assert record_from_json(data) == replace(other, choice="sha256:" + "0" * 16)
    assert not {"choice", "not_chosen"} & record_to_json(RECORD).keys()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from(["built", "gated", "failed", "skipped"]),
        ),
        max_size=8,
    )
)
def test_one_is_chosen_where_one_meets_its_limits_and_nothing_is_gated_then(cells: list[Any]) -> None:
    records = [record(f"{number:04d}", size, status) for number, (size, status) in enumerate(cells)]
    winner = chosen(records)
    met = [one for one in records if one.status == "built"]
    assert (winner is None) == (not met)
    if winner is None:
        return
    assert all(
        (one.measurements.size_after, one.id) >= (winner.measurements.size_after, winner.id)
        for one in met
        if one.measurements is not None and winner.measurements is not None
    )
    after = [one if one is winner else passed_over(one, winner) for one in records]
    assert [one.id for one in after if one.status == "built"] == [winner.id]
    assert all(one.status != "gated" for one in after)
    assert [one for one in after if one.status == "failed"] == [
        one for one in records if one.status == "failed"
    ]


def make(
    folder: Path, records: Sequence[CellRecord], said: io.StringIO | None = None
) -> dict[str, CellRecord]:
    """Make the choice among the cells of `plan`, whose folders lie there, without publishing."""
    reporter = PlainReporter(said or io.StringIO())
    siblings = Siblings(plan(folder), folder, lambda _: None)
    finisher = Finisher(
        output=folder,
        state=folder,
        publisher=None,
        command="",
        reporter=reporter,
        siblings=siblings,
        commands=CommandRuns(None, output=folder, state=folder, reporter=reporter),
    )
    choices = Choices(plan(folder), folder, finisher, reporter)
    choices.begin({one.id: BUILD for one in records})
    found: dict[str, CellRecord] = {}
    for one in records:
        found[one.id] = choices.publish(one)
        choices.make(found)
    return found


def test_nothing_is_chosen_before_all_cells_are_finished(tmp_path: Path) -> None:
    found = make(tmp_path, [A, B])
    assert {one.status for one in found.values()} == {"built"}
    assert found["aaaa"].not_chosen == "not chosen yet: other cells of its model are not finished"


def test_the_chosen_one_says_what_the_choice_follows_from(tmp_path: Path) -> None:
    checkpoint(tmp_path / "bbbb", B.fingerprint or "")
    found = make(tmp_path, [A, B, MISSED])
    winner = found["bbbb"]
    wanted = choice_digest([str(one.fingerprint) for one in (MISSED, A, B)], LIMITS)
    assert (winner.status, winner.choice, winner.not_chosen) == ("built", wanted, None)
    assert read_json(tmp_path / "bbbb" / "quantization_report.json")["choice"] == wanted
    assert exit_code(found.values()) is ExitCode.OK


def test_a_cell_that_failed_stays_so_and_is_no_part_of_what_a_later_run_finds_unchanged(
    tmp_path: Path,
) -> None:
    checkpoint(tmp_path / "bbbb", B.fingerprint or "")
    failed = replace(FAILED, id="cccc")
    found = make(tmp_path, [A, B, failed])
    assert found["cccc"] == failed
    assert found["bbbb"].choice == choice_digest([str(A.fingerprint), str(B.fingerprint)], LIMITS)
    assert exit_code(found.values()) is ExitCode.CELL_FAILED


def test_where_none_meets_its_limits_all_stay_gated(tmp_path: Path) -> None:
    said = io.StringIO()
    missed = [replace(MISSED, id=name) for name in ("aaaa", "bbbb", "cccc")]
    found = make(tmp_path, missed, said)
    assert list(found.values()) == missed
    assert "model: no cell meets its limits, so none is published" in said.getvalue()
    assert exit_code(found.values()) is ExitCode.GATE_MISSED


def survey_of(
    whole: Plan, states: dict[str, PublishedState], shelf: type[Shelf] = Shelf
) -> dict[str, Verdict]:
    """The verdicts on the cells of a plan."""
    reporter = PlainReporter(io.StringIO())
    return survey(whole, shelf(states), Lookups(reporter), reporter)


def published(
    whole: Plan, cell_id: str, *, among: Sequence[str] = ("aaaa", "bbbb", "cccc")
) -> PublishedState:
    """What is published where a cell was chosen among some as they are now."""
    lookups = Lookups(PlainReporter(io.StringIO()))
    own = {cell.id: lookups.identity(cell, job) for job, cell in whole.cells()}
    limits = whole.jobs[0].evaluate.limits
    return PublishedState(
        fingerprint=own[cell_id].fingerprint,
        commit="c" * 40,
        inputs=own[cell_id].inputs,
        choice=choice_digest((own[name].fingerprint for name in among), limits),
    )


def test_what_is_chosen_and_unchanged_speaks_for_the_others(tmp_path: Path) -> None:
    whole = plan(tmp_path)
    verdicts = survey_of(whole, {"bbbb": published(whole, "bbbb")})
    assert {name: verdict.reasons for name, verdict in verdicts.items()} == {
        "aaaa": ("not_chosen",),
        "bbbb": ("unchanged",),
        "cccc": ("not_chosen",),
    }
    assert not any(verdict.build for verdict in verdicts.values())


@pytest.mark.parametrize("why", ["another limit", "another cell", "no choice"])
def test_all_are_built_where_the_choice_follows_from_something_else(tmp_path: Path, why: str) -> None:
    whole = plan(tmp_path)
    state = published(
        whole, "bbbb", among=("aaaa", "bbbb") if why == "another cell" else ("aaaa", "bbbb", "cccc")
    )
    if why == "no choice":
        state = replace(state, choice=None)
    now = plan(tmp_path, limit=0.3) if why == "another limit" else whole
    verdicts = survey_of(now, {"bbbb": state})
    assert {name: verdict.reasons for name, verdict in verdicts.items()} == {
        "aaaa": ("new",),
        "bbbb": ("choice",),
        "cccc": ("new",),
    }
    assert all(verdict.build for verdict in verdicts.values())


def test_without_choose_what_is_published_speaks_for_itself_alone(tmp_path: Path) -> None:
    whole = plan(tmp_path, choose="all")
    verdicts = survey_of(whole, {"bbbb": replace(published(whole, "bbbb"), choice=None)})
    assert [verdict.reasons for verdict in verdicts.values()] == [("new",), ("unchanged",), ("new",)]


def test_what_was_taken_back_takes_no_part(tmp_path: Path) -> None:
    whole = plan(tmp_path)
    gone = published(whole, "bbbb")
    gone = replace(gone, fingerprint="0" * 64, rejected=(str(gone.fingerprint),))
    assert [verdict.build for verdict in survey_of(whole, {"bbbb": gone}).values()] == [True, False, True]
    after = {"bbbb": gone, "aaaa": published(whole, "aaaa", among=("aaaa", "cccc"))}
    verdicts = survey_of(whole, after)
    assert [verdict.reasons for verdict in verdicts.values()] == [
        ("unchanged",),
        ("rejected",),
        ("not_chosen",),
    ]


def test_while_the_chosen_one_waits_in_a_pull_request_the_others_are_not_built(tmp_path: Path) -> None:
    whole = plan(tmp_path)
    wanted = published(whole, "bbbb").fingerprint

    class Asks(Shelf):
        proposes = True

        def proposed(self, repository: str, fingerprint: str) -> Proposed | None:  # noqa: ARG002
            return Proposed(url="https://hub/1", waits=True) if fingerprint == wanted else None

    verdicts = survey_of(whole, {}, Asks)
    assert [verdict.reasons for verdict in verdicts.values()] == [
        ("not_chosen",),
        ("proposed",),
        ("not_chosen",),
    ]
    assert verdicts["aaaa"].text == (
        "bbbb was chosen in its place, and it waits in a pull request: https://hub/1"
    )


def test_a_card_says_what_the_choice_follows_from_and_is_not_believed_in_other_forms() -> None:
    digest = choice_digest(["a", "b"], LIMITS)
    assert digest == choice_digest(["b", "a"], dict(LIMITS)) == known_choice(digest)
    assert digest != choice_digest(["b", "a"], {"max_kl_divergence": 0.3})
    state = card_state({"model_quantizer": {"fingerprint": "a1", "choice": digest}})
    assert state is not None
    assert state.choice == digest
    for forged in ("\n::error::", 12, None, ["a"]):
        assert known_choice(forged) is None
