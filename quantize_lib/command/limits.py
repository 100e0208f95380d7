"""The limits that a test command is held to: that it passes, and those on its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from quantize_lib.command.spec import COMMAND, MAX, MIN, CommandResult, is_command_limit, split_limit
from quantize_lib.metrics import Estimate, Figure, Limit, Outcome, Verdict


class _OfFigure(Limit):
    """A limit on a figure that a command wrote, which is `after` of what is judged; it has no error.

    Args:
        name: the figure's.
    """

    words: ClassVar[Mapping[str, Any]] = {}
    number: ClassVar[str] = ""

    def __init__(self, name: str) -> None:
        self._name = name

    def fault(self, figure: Figure) -> str | None:
        if figure.after is None:
            return f"the test command gave no figure {self._name}, and its {self.key} is set"
        return None

    def estimate(self, figure: Figure) -> Estimate:
        assert figure.after is not None, "it has no fault"
        return Estimate(figure.after, None)

    def said(self, figure: Figure, limit: float) -> str:
        value = self.estimate(figure).value
        short = f"{value:.4g}"
        # As many digits as it takes to differ from the limit.
        shown = short if value == limit or float(short) != float(f"{limit:.4g}") else repr(value)
        return f"test command: {self._name} is {shown}"

    def shown(self, value: float) -> str:
        return f"{value:g}"


class _Least(_OfFigure):
    key = MIN
    is_least = True


class _Most(_OfFigure):
    key = MAX


_RULES = {rule.key: rule for rule in (_Least, _Most)}


def judge_command(result: CommandResult | None, limits: Mapping[str, float]) -> Iterator[Verdict]:
    """How each of the command's limits was judged; a figure that is missing misses its own.

    Args:
        result: None where the command was not run.
        limits: of the whole gate, by their keys; the command's count.
    """
    for key, limit in limits.items():
        if not is_command_limit(key):
            continue
        if key == COMMAND:
            yield _passed(result)
            continue
        name, kind = split_limit(key)
        figure = Figure(after=None if result is None else result.figures.get(name))
        yield replace(_RULES[kind](name).judge(figure, limit), key=key)


def _passed(result: CommandResult | None) -> Verdict:
    if result is not None and result.fault is None:
        return Verdict(key=COMMAND, outcome=Outcome.MET, text="the test command ended with exit code 0")
    fault = "was not run" if result is None else result.fault
    return Verdict(key=COMMAND, outcome=Outcome.MISSED, text=f"the test command {fault}")
