"""Events go through a pipe unchanged, and a hostile process can do no more than print."""

from __future__ import annotations

import io
import json

import pytest

from quantize_lib.cli.console.github import GithubReporter
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.job.events import MAX_LINE, MAX_OPEN, EventReporter, Relay
from quantize_lib.reporting import Reporter


def speak(reporter: Reporter) -> None:
    """Use everything that a reporter has."""
    reporter.info("a × b")
    with reporter.group("Job"):
        reporter.warning("b\nc")
        with reporter.progress("Quantizing", 3, "block") as bar:
            bar.advance()
            bar.advance(2)
        reporter.error("d")


def test_what_arrives_is_what_was_said() -> None:
    pipe, direct, relayed = io.StringIO(), io.StringIO(), io.StringIO()
    clock = lambda: 0.0  # noqa: E731
    speak(EventReporter(pipe))
    speak(PlainReporter(direct, clock=clock))
    with Relay(PlainReporter(relayed, clock=clock)) as relay:
        for line in pipe.getvalue().splitlines(keepends=True):
            relay.feed(line)
    assert relayed.getvalue() == direct.getvalue()


def test_every_event_is_one_line_of_ascii_json() -> None:
    pipe = io.StringIO()
    speak(EventReporter(pipe))
    events = [json.loads(line) for line in pipe.getvalue().splitlines()]
    assert pipe.getvalue().isascii()
    assert [event["event"] for event in events] == [
        "info",
        "group-start",
        "warning",
        "progress-start",
        "progress-advance",
        "progress-advance",
        "progress-end",
        "error",
        "group-end",
    ]


def test_a_bar_sends_at_most_five_events_a_second_and_loses_none() -> None:
    now = 0.0
    pipe = io.StringIO()
    with EventReporter(pipe, clock=lambda: now).progress("Downloading", 10_000, "B") as bar:
        for _ in range(10_000):
            now += 0.001
            bar.advance()
    amounts = [json.loads(line).get("amount") for line in pipe.getvalue().splitlines()]
    sent = [amount for amount in amounts if amount is not None]
    assert sum(sent) == 10_000
    assert 45 <= len(sent) <= 52


def test_what_a_process_left_open_is_closed() -> None:
    stream = io.StringIO()
    with Relay(GithubReporter(stream)) as relay:
        relay.feed('{"event": "group-start", "title": "Job"}\n')
        relay.feed('{"event": "progress-start", "id": 1, "title": "q", "total": 3, "unit": "block"}\n')
    assert stream.getvalue().splitlines()[-1] == "::endgroup::"


@pytest.mark.parametrize(
    "line",
    [
        "a library's own words",
        "[1, 2]",
        '{"event": "info"}',
        '{"event": "info", "message": 5}',
        '{"event": "exit", "message": "x"}',
        '{"event": "progress-advance", "id": 7, "amount": 1}',
        '{"event": "progress-start", "id": 1, "title": "t", "total": -1, "unit": "B"}',
        '{"event": "progress-start", "id": 1, "title": "t", "total": 1e999, "unit": "B"}',
        '{"event": "group-end"}',
        "[" * 60_000,
        '{"event": "progress-start", "id": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_event_is_shown_as_a_plain_line(line: str) -> None:
    stream = io.StringIO()
    with Relay(PlainReporter(stream)) as relay:
        relay.feed(line + "\n")
    assert stream.getvalue() == line + "\n"


def test_a_hostile_process_cannot_start_a_workflow_command() -> None:
    stream = io.StringIO()
    with Relay(GithubReporter(stream)) as relay:
        relay.feed("::add-path::/evil\n")
        relay.feed('{"event": "info", "message": "x\\n::add-path::/evil"}\n')
        relay.feed('{"event": "warning", "message": "x\\n::add-path::/evil"}\n')
        relay.feed('{"event": "group-start", "title": "x\\n::add-path::/evil"}\n')
    assert not [line for line in stream.getvalue().splitlines() if line.lstrip().startswith("::add-path")]


def test_a_line_is_looked_at_only_so_far() -> None:
    stream = io.StringIO()
    with Relay(PlainReporter(stream)) as relay:
        relay.feed("x" * (2 * MAX_LINE))
    assert len(stream.getvalue()) == MAX_LINE + 1


def test_a_process_cannot_open_bars_without_end() -> None:
    stream = io.StringIO()
    with Relay(PlainReporter(stream)) as relay:
        for number in range(MAX_OPEN + 1):
            relay.feed(
                json.dumps({"event": "progress-start", "id": number, "title": "t", "total": 1, "unit": "u"})
            )
        assert stream.getvalue().startswith('{"event": "progress-start", "id": 16')


def test_empty_lines_are_not_shown() -> None:
    stream = io.StringIO()
    with Relay(PlainReporter(stream)) as relay:
        relay.feed("\n")
        relay.feed("\x1b\x07\n")
    assert stream.getvalue() == ""
