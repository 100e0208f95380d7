"""The words of the command line, from argparse."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from quantize_lib.cli.arguments import command_parser, single_model_parser
from tools.docs.markdown import code, table

_DEFAULT = re.compile(r"(?:^|; )default: (.+)$")
# BooleanOptionalAction adds it before Python 3.13.
_ADDED = " (default: %(default)s)"


def tables() -> dict[str, str]:
    """`command-line.COMMAND` for each command, and `command-line.MODEL` for the form for one model."""
    commands: dict[str, argparse.ArgumentParser] = {}
    for action in command_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands = dict(action.choices)
    found = {"MODEL": single_model_parser(), **commands}
    return {
        f"command-line.{name}": table(("Argument", "Value", "Default", "Meaning"), _rows(parser))
        for name, parser in found.items()
    }


def _rows(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        text = (action.help or "").removesuffix(_ADDED)
        stated = _DEFAULT.search(text)
        meaning = text[: stated.start()] if stated else text
        default = stated[1] if stated else _default(action)
        # A value is one word; "no limit" describes one.
        yield [
            _name(action),
            _value(action),
            default if " " in default else code(default),
            _sentence(meaning),
        ]


def _name(action: argparse.Action) -> str:
    if action.option_strings:
        return ", ".join(code(word) for word in action.option_strings)
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return code(f"[{name}]" if action.nargs == "?" else name)


def _value(action: argparse.Action) -> str:
    if not action.option_strings or action.nargs == 0:
        return ""
    if action.choices:
        return ", ".join(map(code, action.choices))
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return code(name)


def _sentence(text: str) -> str:
    """With a capital, where it begins with a word and not with a name such as `quantize.yml`."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def _default(action: argparse.Action) -> str:
    given = action.option_strings and action.nargs != 0 and action.default not in (None, [])
    return str(action.default) if given else ""
