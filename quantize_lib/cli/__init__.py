"""The command line: the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn

from quantize_lib.cli.arguments import parse_arguments
from quantize_lib.errors import ExitCode, QuantizerError
from quantize_lib.reporting import Interrupted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; those of this process where not given.

    Returns:
        The exit code (see `errors.ExitCode`). A bug of ours escapes as a traceback, which Python ends with 1.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that knows few characters, and a path that is no UTF-8: shown as escapes, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as end:
        return ExitCode.OK if end.code is None else ExitCode(int(end.code))

    from quantize_lib.cli import commands
    from quantize_lib.cli.console import make_reporter

    # What programs read (plan --format json) goes to standard output alone; people's lines go beside it.
    reporter = make_reporter(sys.stderr, os.environ)
    # SIGTERM is how runners and `docker stop` end a process: it is to leave a report, as Ctrl-C does.
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return commands.dispatch(options, reporter)
    except QuantizerError as error:
        reporter.error(str(error))
        return error.exit_code
    except (Interrupted, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`); Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted
