"""A conversation with a checkpoint; run in a fresh process that has the terminal.

`python -m quantize_lib.chat.session QUESTION.json ANSWER.json`, both files of `start`. Answers go to standard
output and the rest to standard error; why a checkpoint cannot be talked to stands in ANSWER.json as `error`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from quantize_lib.chat.conversation import Conversation, TooLongError
from quantize_lib.devices import choose_device
from quantize_lib.environment import end_with_parent
from quantize_lib.errors import ExitCode, QuantizerError
from quantize_lib.evaluate.opening import FaultyCheckpointError, open_checkpoint
from quantize_lib.files import read_json, write_json
from quantize_lib.text import format_duration, plain
from quantize_lib.tokenizer.loading import load_tokenizer

_COMMAND = re.compile(r"/\w+")
_HELP = "/reset forgets what was said, /quit or Ctrl-D leaves, Ctrl-C stops an answer."


def main(arguments: list[str]) -> int:
    """Entry point; see the module."""
    end_with_parent()
    question_file, answer_file = map(Path, arguments)
    question = read_json(question_file)
    try:
        conversation, seconds = _open(question)
    except FaultyCheckpointError as problem:
        write_json(answer_file, {"error": str(problem)})
        return ExitCode.OK
    except QuantizerError as problem:
        write_json(answer_file, {"error": problem.message})
        return ExitCode.OK
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    _say(f"{plain(Path(question['folder']).name)}, loaded in {format_duration(seconds)}. {_HELP}")
    if not conversation.has_template:
        _say("It has no chat template: what you write is continued as it stands.")
    _talk(conversation)
    return ExitCode.OK


def _open(question: dict[str, Any]) -> tuple[Conversation, float]:
    """The conversation, and how many seconds the loader took.

    Raises:
        FaultyCheckpointError: where it does not load, or its chat template fails.
        QuantizerError: where the device is missing, or the tokenizer does not load.
    """
    folder = Path(question["folder"])
    with _output_in(Path(question["log"])):
        device = choose_device(question["device"]).type
        tokenizer = load_tokenizer(folder, trust_remote_code=False)
        loaded = open_checkpoint(folder, device=device)
        conversation = Conversation(
            loaded.model,
            tokenizer,
            system=question["system"],
            max_new_tokens=question["max_new_tokens"],
            temperature=question["temperature"],
            seed=question["seed"],
            positions=question["positions"],
        )
    return conversation, loaded.seconds


def _talk(conversation: Conversation) -> None:
    """Read a line, answer it, until the input ends."""
    for line in _lines():
        if line == "/quit":
            return
        if line == "/reset":
            conversation.reset()
            _say("Forgotten.")
        elif _COMMAND.fullmatch(line):
            _say(f"There is no {line}. {_HELP}")
        else:
            try:
                forgotten = conversation.answer(line, sys.stdout)
            except TooLongError as problem:
                _say(str(problem))
            except Exception as error:  # noqa: BLE001 what does not fit into memory raises what the library likes
                _say(f"It cannot answer that: {plain(str(error)) or type(error).__name__}")
            else:
                if forgotten:
                    _say(f"(The oldest {forgotten} of what was said no longer fit, and are forgotten.)")


def _lines() -> Iterator[str]:
    """What is typed or piped in, line by line, without empty ones."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    typed = sys.stdin.isatty()
    if typed:
        # Importing it lets `input` edit lines and remember them.
        import readline  # noqa: F401
    while True:
        try:
            line = input("> " if typed else "").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            if not typed:
                return
            _say("\nCtrl-D leaves.")
            continue
        if line:
            yield line


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _output_in(log: Path) -> Iterator[None]:
    """Send what libraries print, in Python or in C, into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
