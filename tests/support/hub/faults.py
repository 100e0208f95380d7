"""Faults on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.support.hub.web import Request

FaultKind = Literal["status", "drop", "lost", "cut", "truncated", "corrupt", "slow"]


@dataclass(kw_only=True)
class Fault:
    """What goes wrong, and when.

    Attributes:
        kind: `status`: an error instead of the effect. `drop`: the connection closes before the effect.
            `lost`: it closes after the effect, without an answer. `cut`: it closes in the middle of the
            request's body. `truncated`: it closes in the middle of the answer's body. `corrupt`: one byte of
            the answer's body is another one. `slow`: the answer comes late.
        route: name of the function that answers, as in Request.route; None for all.
        when: a further condition.
        skip: so many requests that it fits pass unharmed.
        times: so many then meet it; None for all.
        status: of HTTP.
        retry_after: the header's value.
        seconds: of `slow`.
        quotes: whether the error's text repeats the Authorization header, as a careless proxy does.
    """

    kind: FaultKind
    route: str | None = None
    when: Callable[[Request], bool] = lambda _: True
    skip: int = 0
    times: int | None = 1
    status: int = 503
    retry_after: str | None = None
    seconds: float = 0.5
    quotes: bool = False

    def hits(self, request: Request) -> bool:
        """Whether this request meets it; counts."""
        if self.times == 0 or self.route not in (None, request.route) or not self.when(request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True
