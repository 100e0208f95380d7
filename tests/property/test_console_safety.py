"""Whatever a foreign process says, it stays text."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.cli.console.github import GithubReporter, escape_data, neutralise
from quantize_lib.job.events import EventReporter, Relay
from quantize_lib.text import printable

NASTY = (
    st.text(alphabet=st.sampled_from(":#[]%\n\r\t \x00\x1b\u2028\u202e\x85\ufeffaé"), max_size=40) | st.text()
)


@given(NASTY)
def test_no_line_of_neutralised_text_is_a_command(text: str) -> None:
    for line in neutralise(printable(text)).splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


@given(NASTY)
def test_an_annotation_is_one_line(text: str) -> None:
    stream = io.StringIO()
    GithubReporter(stream).error(text)
    assert len(stream.getvalue().splitlines()) == 1


@given(NASTY)
def test_escaped_data_can_be_read_back(text: str) -> None:
    escaped = escape_data(text)
    assert "\n" not in escaped
    assert "\r" not in escaped
    assert escaped.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%") == text


@given(NASTY)
def test_printable_text_stays_as_it_is_once_it_is_clean(text: str) -> None:
    assert printable(printable(text)) == printable(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | NASTY,
        lambda values: (
            st.lists(values, max_size=3)
            | st.dictionaries(
                st.sampled_from(["event", "id", "title", "total", "unit", "amount", "message"]), values
            )
        ),
        max_leaves=8,
    )
)
def test_no_json_breaks_the_relay(value: object) -> None:
    with Relay(GithubReporter(io.StringIO())) as relay:
        relay.feed(json.dumps(value))


@given(NASTY, NASTY)
def test_an_event_arrives_as_it_was_said(message: str, title: str) -> None:
    pipe = io.StringIO()
    reporter = EventReporter(pipe)
    with reporter.group(title):
        reporter.info(message)
    first, second, _ = (json.loads(line) for line in pipe.getvalue().splitlines())
    assert first == {"event": "group-start", "title": title}
    assert second == {"event": "info", "message": message}
