"""Whatever a test command writes as its figures is numbers by name, or an error in words."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.command.figures import FiguresError, checked_figures, read_figures

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=70), inner, max_size=3),
    max_leaves=5,
)
CONTENTS = st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode())


@given(CONTENTS)
def test_any_file_is_figures_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "figures.json"
    file.write_bytes(content)
    figures: dict[str, float] = {}
    with suppress(FiguresError):
        figures = read_figures(file)
    assert all(map(math.isfinite, figures.values()))


@given(VALUES)
def test_figures_that_were_checked_are_taken_as_they_are(value: Any) -> None:
    try:
        figures = checked_figures(value)
    except FiguresError:
        return
    assert checked_figures(json.loads(json.dumps(figures))) == figures
