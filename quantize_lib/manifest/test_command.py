"""The user's own test command as the manifest has it, and the limits on its figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from quantize_lib.command.spec import COMMAND, LIMITS, MAX, MIN, CommandSpec, command_limit_key
from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.schema import defaults_of
from quantize_lib.manifest.text import Report
from quantize_lib.names import absolute
from quantize_lib.wording import show


def check_command(command: Mapping[str, Any], path: KeyPath, base: Path, report: Report) -> None:
    """Report files that cannot be given, a program that is none of them, and limits that nothing meets."""
    names: dict[str, int] = {}
    for index, written in enumerate(command.get("files", ())):
        file = absolute(written, base)
        if not file.exists():
            report((*path, "files", index), f"there is no file or folder {show(written)}.")
        elif file == base or file in base.parents:
            report(
                (*path, "files", index),
                f"{show(written)} holds the manifest and all that is beside it; name what is read.",
            )
        elif file.name in names:
            report(
                (*path, "files", index),
                f"files[{names[file.name]}] is named {show(file.name)}, too; each has its own name in the "
                "command's folder.",
            )
        names.setdefault(file.name, index)
    program = PurePosixPath(os.path.normpath(command["command"][0]))
    if "/" in command["command"][0] and not program.is_absolute() and program.parts[0] not in names:
        report(
            (*path, "command", 0),
            f"{show(command['command'][0])} is none of `files`; a program on PATH is written without `/`.",
        )
    for name, limits in command.get("limits", {}).items():
        if limits.get(MIN, 0) > limits.get(MAX, limits.get(MIN, 0)):
            report((*path, "limits", name), f"`{MIN}` is more than `{MAX}`, so nothing meets both.")


def command_spec(evaluate: Mapping[str, Any], base: Path) -> CommandSpec | None:
    """A checked command with its files found; None where there is none."""
    if COMMAND not in evaluate:
        return None
    command = {**defaults_of(COMMAND), **evaluate[COMMAND]}
    return CommandSpec(
        words=tuple(command["command"]),
        files=tuple(absolute(written, base) for written in command["files"]),
        timeout=command["timeout"],
    )


def command_limits(evaluate: Mapping[str, Any]) -> dict[str, float]:
    """The limits that a command brings, by their keys in the gate; its own is the exit code that passes."""
    if COMMAND not in evaluate:
        return {}
    return {COMMAND: 0.0} | {
        command_limit_key(name, limit): float(limits[limit])
        for name, limits in evaluate[COMMAND].get("limits", {}).items()
        for limit in LIMITS
        if limit in limits
    }
