from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.tokenizer.question import Answer

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "notes", "texts", "code", "message", "hint"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(JSON, st.integers(0, 3))
def test_what_is_no_answer_is_a_value_error_and_never_another_one(data: Any, texts: int) -> None:
    try:
        answer = Answer.from_json(data, texts=texts)
    except ValueError:
        return
    assert answer.error is not None or len(answer.texts) == texts
    assert all(isinstance(note, str) for note in answer.notes)
