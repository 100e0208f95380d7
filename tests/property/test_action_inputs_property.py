"""Inputs of the action: whatever a caller writes is one of the allowed values, or an error that names it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.action_inputs import DEFAULTS, PUSH
from tools.action.inputs import COMMANDS, DEVICES, EXECUTORS, InputError, read_inputs
from tools.action.inputs import DEFAULTS as DEFAULT_VALUES

NAMES = sorted(DEFAULT_VALUES)
WHITE = st.text(" \t\r\n", max_size=2)
NEAR = st.sampled_from([*DEFAULT_VALUES.values(), "TRUE", "no", "0", "CUDA", "Plan", "hf_abc", "null", "a b"])
VALUES = st.one_of(NEAR, st.text(st.characters(exclude_categories=()), max_size=20))


@given(st.dictionaries(st.sampled_from(NAMES), VALUES), WHITE, WHITE)
def test_any_values_are_read_as_if_nothing_stood_around_them_or_refused_by_name(
    given_values: dict[str, str], before: str, after: str
) -> None:
    def read(values: dict[str, str]) -> object:
        words = {f"INPUT_{name.upper().replace('-', '_')}": value for name, value in values.items()}
        try:
            found = read_inputs({**DEFAULTS, **words}, PUSH)
        except InputError as error:
            return str(error)
        assert found.command in COMMANDS
        assert found.executor in EXECUTORS
        assert found.device in DEVICES
        assert found.manifest.startswith(("./", "/"))
        return found

    found = read(given_values)
    assert read({name: f"{before}{value}{after}" for name, value in given_values.items()}) == found
    if isinstance(found, str):
        assert {line.partition(":")[0] for line in found.splitlines()} <= set(given_values)
