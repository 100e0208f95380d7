"""Errors and their codes."""

from __future__ import annotations

import inspect

import pytest

from quantize_lib import errors
from quantize_lib.errors import ErrorCode, QuantizerError, error_of

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, QuantizerError) and kind is not QuantizerError
]


def test_codes_are_promises() -> None:
    assert [code.value for code in ErrorCode] == [
        "usage",
        "manifest",
        "source",
        "calibration",
        "engine",
        "checkpoint",
        "evaluation",
        "gate",
        "publish",
        "interrupted",
        "not_started",
        "other",
    ]


def test_every_kind_of_error_has_a_code_of_its_own() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_back_by_its_code(kind: type[QuantizerError]) -> None:
    error = error_of(kind.code, "what", hint="do")
    assert (type(error), error.message, error.hint) == (kind, "what", "do")


def test_an_error_with_a_code_of_another_version_is_still_an_error() -> None:
    error = error_of("unheard_of", "what")
    assert (type(error), error.code, str(error)) == (QuantizerError, ErrorCode.OTHER, "what")
