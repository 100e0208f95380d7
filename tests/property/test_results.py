"""What holds of results whatever models, manifests and numbers say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from quantize_lib.card.escape import code_block
from quantize_lib.errors import PublishError
from quantize_lib.gate import check_gate
from quantize_lib.publish.base import check_repository
from quantize_lib.report import record_from_json, record_to_json, summary_markdown, summary_table
from quantize_lib.report.records import Measurements
from quantize_lib.report.report_schema import report_schema
from quantize_lib.text import markdown
from tests.support.records import MEASURED, RECORD, RELOAD, with_figure, with_sample

TEXT = st.text(max_size=60)
NASTY = st.text(alphabet="`|<>[]{}%#*_-\\\n\r\t\x1b\u2028&;:'\"ab .", max_size=60)
NUMBER = st.floats(allow_nan=True, allow_infinity=True)
OPTIONAL = st.none() | NUMBER
CELL = Draft202012Validator({**report_schema(), **report_schema()["$defs"]["cell"]})


@given(text=TEXT | NASTY)
def test_escaped_text_is_one_printable_line_without_markup(text: str) -> None:
    escaped = markdown(text)
    assert escaped.isprintable()
    rest = "".join(part.partition(";")[2] if i else part for i, part in enumerate(escaped.split("&#")))
    assert not set("\\`*_{}[]<>&#|~$!:@\"'") & set(rest)


@given(text=TEXT | NASTY)
def test_a_code_block_ends_only_where_it_should(text: str) -> None:
    first, *middle, last = str(code_block(text, "sh")).split("\n")
    assert first == f"{last}sh"
    assert all(not line.lstrip().startswith(last) for line in middle)


@given(text=TEXT | NASTY)
def test_a_table_has_as_many_lines_and_columns_as_it_should(text: str) -> None:
    records = [replace(RECORD, id=text, error=text), RECORD]
    assert len(summary_table(records).split("\n")) == 5
    assert "\x1b" not in summary_table(records)
    summary = summary_markdown(records)
    head, *rest = summary.partition("<details>")[0].rstrip("\n").split("\n\n")
    lines = head.split("\n")
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {9}
    # The rule, the remark, and a chart of two lines around it.
    assert len(rest) in (3, 4)
    chart = summary.partition("```mermaid\n")[2].partition("```")[0].split("\n")
    assert len(chart) == 5
    assert chart[1].count('"') == 4


def _measured(before: float | None, after: float | None, kl: float | None) -> Measurements:
    measured = with_figure(MEASURED, "perplexity", before=before, after=after)
    measured = with_figure(measured, "kl_divergence", after=kl)
    return replace(measured, reload=with_sample(RELOAD, "perplexity", reloaded=after))


@given(before=OPTIONAL, after=OPTIONAL, kl=OPTIONAL, error=st.none() | TEXT, notes=st.lists(TEXT, max_size=3))
def test_a_record_is_valid_strict_json_and_comes_back(
    before: float | None, after: float | None, kl: float | None, error: str | None, notes: list[str]
) -> None:
    measured = _measured(before, after, kl)
    record = replace(RECORD, error=error, notes=tuple(notes), measurements=measured)
    data: dict[str, Any] = json.loads(json.dumps(record_to_json(record), allow_nan=False))
    CELL.validate(data)
    back = record_from_json(data)

    def finite(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    assert back == replace(
        record,
        measurements=_measured(finite(before), finite(after), finite(kl)),
    )


@given(before=OPTIONAL, after=OPTIONAL, kl=OPTIONAL, limit=st.floats(0, 10), kl_limit=st.floats(0, 10))
def test_the_gate_is_met_only_by_finite_figures_within_the_limits(
    before: float | None, after: float | None, kl: float | None, limit: float, kl_limit: float
) -> None:
    limits = {"max_perplexity_increase": limit, "max_kl_divergence": kl_limit}
    if check_gate(_measured(before, after, kl), limits) == ():
        assert before is not None
        assert after is not None
        assert kl is not None
        assert math.isfinite(before)
        assert math.isfinite(after)
        assert before > 0
        assert after / before - 1 <= limit
        assert kl <= kl_limit


@given(name=st.text(alphabet="ab1._-/\\ \n", max_size=12) | TEXT)
def test_a_repository_never_leaves_its_folder(name: str) -> None:
    try:
        check_repository(name)
    except PublishError:
        return
    root = Path("/published")
    target = Path(*(root / name).parts)
    assert root in target.parents
    assert ".." not in target.parts
    assert len(target.parts) in (3, 4)
    assert not any(part.startswith(".") for part in target.relative_to(root).parts)
