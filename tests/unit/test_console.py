"""What a person sees on a terminal, in a log file and in a GitHub workflow."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from quantize_lib.cli import main
from quantize_lib.cli.console import append_summary, make_reporter
from quantize_lib.cli.console.github import GithubReporter
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.cli.console.summary import MAX_BYTES
from quantize_lib.cli.console.terminal import TerminalReporter
from quantize_lib.cli.console.text import format_done, format_rate
from quantize_lib.text import format_bytes, format_duration


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_workflow_gets_the_github_reporter_even_on_a_terminal() -> None:
    assert type(make_reporter(Terminal(), {"GITHUB_ACTIONS": "true"})) is GithubReporter


def test_a_terminal_gets_bars() -> None:
    assert type(make_reporter(Terminal(), {"TERM": "xterm"})) is TerminalReporter


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO(), "xterm"), (Terminal(), "dumb")])
def test_a_pipe_and_a_dumb_terminal_get_plain_lines(stream: io.StringIO, term: str) -> None:
    assert type(make_reporter(stream, {"TERM": term})) is PlainReporter


def test_a_character_that_the_stream_lacks_is_replaced() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    make_reporter(stream, {}).info("12 × 34")
    assert raw.getvalue() == b"12 ? 34\n"


def test_a_result_is_printed_where_the_output_lacks_its_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.yml")
    path.write_text(
        "version: 1\nmodels: [{id: acme/m, quantize: [{method: awq, bits: 4}]}]\n", encoding="utf-8"
    )
    for encoding in ("ascii", "utf-8"):
        output = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding=encoding, write_through=True))
        assert main(["validate", str(path)]) == 0
        assert b"caf\\udce9.yml is valid" in output.getvalue()


def test_plain_lines_say_their_kind() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    with reporter.group("Job"):
        reporter.info("a")
        reporter.warning("b")
        reporter.error("c")
    assert stream.getvalue() == "== Job\na\nwarning: b\nerror: c\n"


def test_plain_lines_hold_no_control_characters() -> None:
    stream = io.StringIO()
    PlainReporter(stream).info("\x1b[31mred\x1b[0m\rover\x07 \u202egnp.exe\x9b2J")
    assert stream.getvalue() == "[31mred[0m\nover gnp.exe2J\n"


def test_plain_progress_is_a_line_every_few_seconds_with_rate_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainReporter(stream, clock=clock, interval=5).progress("Quantizing", 30, "block") as bar:
        for _ in range(30):
            clock.now += 2
            bar.advance()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Quantizing: 3/30 blocks, 2.0 s/block, 54 s left"
    assert lines[-1] == "Quantizing: 30/30 blocks in 1 min 00 s"
    assert len(lines) == 10
    assert "\r" not in stream.getvalue()


def test_plain_progress_of_bytes() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainReporter(stream, clock=clock).progress("Downloading", 269_060_552, "B") as bar:
        clock.now += 10
        bar.advance(100_000_000)
    assert stream.getvalue().splitlines()[0] == ("Downloading: 100.0 MB of 269.1 MB, 10.0 MB/s, 17 s left")


def test_plain_progress_that_breaks_off_does_not_say_that_it_ended() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), PlainReporter(stream).progress("Quantizing", 3, "block"):
        raise KeyboardInterrupt
    assert stream.getvalue() == ""


def test_a_terminal_shows_a_bar_with_count_rate_and_time_left() -> None:
    stream = Terminal()
    reporter = TerminalReporter(stream, {"TERM": "xterm-256color"})
    with reporter.progress("Quantizing", 3, "block") as bar:
        bar.advance(2)
        reporter.info("a line in between")
    assert "2/3 blocks" in stream.getvalue()
    assert "left" in stream.getvalue()
    assert "a line in between" in stream.getvalue()


def test_a_terminal_can_show_two_bars_and_later_another() -> None:
    stream = Terminal()
    reporter = TerminalReporter(stream, {"TERM": "xterm"})
    with reporter.progress("outer", 2, "job") as outer, reporter.progress("inner", 5, "block") as inner:
        inner.advance(5)
        outer.advance()
    with reporter.progress("later", 1, "cell") as later:
        later.advance()
    for words in ("1/2 jobs", "5/5 blocks", "1/1 cell"):
        assert words in stream.getvalue()


def test_a_terminal_does_not_take_foreign_text_for_markup() -> None:
    stream = Terminal()
    reporter = TerminalReporter(stream, {"TERM": "xterm"})
    reporter.info("[bold]a[/bold] [/nothing] :smile: \x1b]0;title\x07")
    assert stream.getvalue().strip() == "[bold]a[/bold] [/nothing] :smile: ]0;title"


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_turns_colours_off(environ: dict[str, str], coloured: bool) -> None:
    stream = Terminal()
    TerminalReporter(stream, {"TERM": "xterm", **environ}).warning("b")
    assert ("\x1b[33m" in stream.getvalue()) == coloured
    assert "warning: " in stream.getvalue()


def test_github_groups_and_annotations_are_workflow_commands() -> None:
    stream = io.StringIO()
    reporter = GithubReporter(stream)
    with reporter.group("Job 100%"):
        reporter.info("a")
        reporter.warning("b")
        reporter.error("c\nd: 5%, e")
    assert stream.getvalue().splitlines() == [
        "::group::Job 100%25",
        "a",
        "::warning title=Model Quantizer::b",
        "::error title=Model Quantizer::c%0Ad: 5%25, e",
        "::endgroup::",
    ]


def test_a_github_group_ends_when_its_work_fails_and_none_stands_in_another() -> None:
    stream = io.StringIO()
    reporter = GithubReporter(stream)
    with pytest.raises(ValueError, match="x"), reporter.group("outer"), reporter.group("inner"):
        raise ValueError("x")
    assert stream.getvalue().splitlines() == ["::group::outer", "== inner", "::endgroup::"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("::set-output name=a::b", ": :set-output name=a::b"),
        ("fine\n \t ::stop-commands::x", "fine\n \t : :stop-commands::x"),
        ("fine\r::error::x", "fine\n: :error::x"),
        ("a ##[set-env name=PATH]/evil", "a ## [set-env name=PATH]/evil"),
        ("\x00::add-mask::x", ": :add-mask::x"),
        ("\u2028::add-mask::x", ": :add-mask::x"),
        ("module::function", "module::function"),
    ],
)
def test_foreign_text_cannot_start_a_workflow_command(message: str, shown: str) -> None:
    stream = io.StringIO()
    GithubReporter(stream).info(message)
    assert stream.getvalue() == shown + "\n"


def test_the_eleventh_annotation_of_a_kind_is_a_line() -> None:
    stream = io.StringIO()
    reporter = GithubReporter(stream)
    for number in range(12):
        reporter.warning(f"w{number}")
    reporter.error("e")
    lines = stream.getvalue().splitlines()
    assert sum(line.startswith("::warning ") for line in lines) == 10
    assert lines[10:] == ["warning: w10", "warning: w11", "::error title=Model Quantizer::e"]


SILENT = PlainReporter(io.StringIO())


def test_the_summary_is_appended(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    environ = {"GITHUB_STEP_SUMMARY": str(file)}
    append_summary("# One", environ, SILENT)
    append_summary("# Zwei ü\n\n", environ, SILENT)
    assert file.read_text(encoding="utf-8") == "# One\n# Zwei ü\n"


def test_the_summary_is_cut_at_a_line_before_github_would_drop_it(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text("x" * 1000, encoding="utf-8")
    row = "| ü | 1 |\n"
    append_summary(row * 200_000, {"GITHUB_STEP_SUMMARY": str(file)}, SILENT)
    content = file.read_bytes()
    assert MAX_BYTES - 20 < len(content) <= MAX_BYTES
    rows, _, note = content.decode()[1000:].partition("\n\n")
    assert set(rows.splitlines(keepends=True)) <= {row, row.rstrip("\n")}
    assert "report.json has everything" in note


def test_outside_a_workflow_there_is_no_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    append_summary("# One", {}, SILENT)
    assert list(tmp_path.iterdir()) == []


def test_a_summary_that_cannot_be_written_is_a_warning(
    tmp_path: Path,
) -> None:
    stream = io.StringIO()
    append_summary("# One", {"GITHUB_STEP_SUMMARY": str(tmp_path)}, GithubReporter(stream))
    assert stream.getvalue().startswith(
        "::warning title=Model Quantizer::the step summary cannot be written: "
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_bytes_are_written_in_decimal_units(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3840, "1 h 04 min")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_counts_and_rates_are_short() -> None:
    assert format_done(1, 1, "cell") == "1/1 cell"
    assert format_rate(0, 5.0, "block") == ""
    assert format_rate(30, 10.0, "block") == "3.0 blocks/s"
    assert format_rate(5, 10.0, "block") == "2.0 s/block"


def test_reporters_import_nothing_heavy_and_rich_only_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.delitem(sys.modules, "quantize_lib.cli.console.terminal", raising=False)
    make_reporter(io.StringIO(), {}).info("a")
    make_reporter(io.StringIO(), {"GITHUB_ACTIONS": "true"}).info("a")
