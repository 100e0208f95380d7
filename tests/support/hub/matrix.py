"""Every request in turn and every kind of fault: what a fault matrix goes through."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.support.hub.faults import Fault, FaultKind
from tests.support.hub.state import Hub

FAULTS: dict[str, tuple[FaultKind, int, str | None]] = {
    "503": ("status", 503, None),
    "500": ("status", 500, None),
    "429": ("status", 429, "0"),
    "dropped": ("drop", 0, None),
    "answer lost": ("lost", 0, None),
    "cut": ("cut", 0, None),
    "truncated": ("truncated", 0, None),
    "slow": ("slow", 0, None),
}
"""Name → kind, status and Retry-After."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request: what answers it, which one of those it is (from 0), and whether it has a body."""

    route: str
    number: int
    has_body: bool

    def fits(self, fault: str) -> bool:
        """Whether this fault can happen to it: a body that is cut needs a body."""
        return self.has_body or fault != "cut"

    def break_it(self, hub: Hub, fault: str, *, lasting: bool) -> Fault:
        """Let it fail, once or from then on."""
        kind, status, retry_after = FAULTS[fault]
        return hub.fail(
            kind,
            route=self.route,
            skip=self.number,
            times=None if lasting else 1,
            status=status,
            retry_after=retry_after,
            seconds=0.02,
        )


def steps(hub: Hub, *, after: int = 0) -> list[Step]:
    """The requests of the log, without the first `after`."""
    found, counted = [], Counter[str]()
    for request in hub.requests[after:]:
        assert request.route, f"the Hub knows no answer: {request}"
        number = counted[request.route]
        found.append(Step(route=request.route, number=number, has_body=bool(request.body)))
        counted[request.route] += 1
    return found
