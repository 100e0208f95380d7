"""A person's terminal: colours and moving bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from quantize_lib.cli.console.text import format_done, format_rate
from quantize_lib.reporting import Progress
from quantize_lib.text import format_duration, printable


class TerminalReporter:
    """Writes to a terminal through rich; nothing in a message is taken for markup.

    Args:
        stream: the terminal.
        environ: its NO_COLOR (https://no-color.org) turns colours off.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._console = Console(
            file=stream,
            force_terminal=True,
            no_color=bool(environ.get("NO_COLOR")),
            markup=False,
            highlight=False,
            emoji=False,
            soft_wrap=True,
        )
        self._bars: Bars | None = None
        self._open = 0

    def info(self, message: str) -> None:
        """A plain line."""
        self._print(Text(printable(message)))

    def warning(self, message: str) -> None:
        """A line that starts with a yellow `warning:`."""
        self._print(Text.assemble(("warning: ", "yellow"), printable(message)))

    def error(self, message: str) -> None:
        """A line that starts with a red `error:`."""
        self._print(Text.assemble(("error: ", "bold red"), printable(message)))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A bold heading."""
        self._print(Text(printable(title), style="bold"))
        yield

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Progress]:
        """A bar with what is done, rate and time left; it stays when it is full."""
        if self._bars is None:
            self._bars = Bars(
                TextColumn("{task.description}", markup=False), BarColumn(), _Figures(), console=self._console
            )
            self._bars.start()
        bars = self._bars
        task = bars.add_task(printable(title), total=total, unit=unit)
        self._open += 1
        try:
            yield _TerminalProgress(bars, task)
        finally:
            bars.stop_task(task)
            self._open -= 1
            if self._open == 0:
                bars.stop()
                self._bars = None

    def _print(self, text: Text) -> None:
        self._console.print(text)


class _TerminalProgress:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: int = 1) -> None:
        self._bars.advance(self._task, amount)


class _Figures(ProgressColumn):
    """`12/30 blocks · 2.4 s/block · 43 s left`."""

    def render(self, task: Task) -> Text:
        unit, done, total = str(task.fields["unit"]), int(task.completed), int(task.total or 0)
        elapsed = task.elapsed or 0.0
        parts = [format_done(done, total, unit)]
        if rate := format_rate(done, elapsed, unit):
            parts.append(rate)
            left = elapsed / done * (total - done)
            parts.append(f"{format_duration(left)} left" if done < total else f"{format_duration(elapsed)}")
        return Text(" · ".join(parts))
