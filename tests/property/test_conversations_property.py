"""Whatever a column of messages holds, it is a conversation that travels, or an error that names its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantize_lib.calibration.conversations import documents_from_json, documents_to_json
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import collect_texts
from quantize_lib.errors import CalibrationError

KEYS = ("role", "content", "from", "value", "type", "text", "name", "tool_calls")
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.sampled_from(KEYS))
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(VALUES, max_size=3), st.lists(st.text(max_size=9), min_size=1, max_size=3))
def test_any_messages_are_read_or_refused_with_their_row(
    tmp_path: Path, messages: list[Any], said: list[str]
) -> None:
    good = [{"role": "user", "content": text} for text in said]
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"messages": good}) + "\n" + json.dumps({"messages": [*good, *messages]}))
    message = f"{path}:2: "
    try:
        texts = collect_texts(TextSpec(files=(path,), column="messages"), token=None).texts
        assert documents_from_json(json.loads(json.dumps(documents_to_json(texts))), "again") == list(texts)
    except CalibrationError as error:
        message = error.message
    assert f"{path}:2: " in message or "there is no text in it" in message
