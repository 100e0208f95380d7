"""What each model is measured through: the loader that its card names, and the servers that read it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantize_lib.benchmark.records import Subject, Through
from quantize_lib.benchmark.servers import SERVERS, Server
from quantize_lib.environment import command_environment
from quantize_lib.errors import UsageError
from quantize_lib.formats import Format, format_of_config
from quantize_lib.reporting import Reporter
from quantize_lib.source.checkpoint import checkpoint_config
from quantize_lib.wording import joined

LOADER = "loader"
"""What is not a server."""
THROUGH = (LOADER, *SERVERS)


@dataclass(frozen=True, kw_only=True)
class Ways:
    """What was asked for.

    Attributes:
        names: of `THROUGH`; None for the loader and every server that is installed.
        programs: by a server's name, where its program was named.
    """

    names: Sequence[str] | None = None
    programs: Mapping[str, Path] = field(default_factory=dict)

    @property
    def loader(self) -> bool:
        """Whether the loader measures, too."""
        return self.names is None or LOADER in self.names


def measured_through(subjects: Sequence[Subject], ways: Ways, reporter: Reporter) -> tuple[Subject, ...]:
    """Every model once for each way; what it is compared with is its base model by the same one, where that
    reads it, else by the loader.

    Args:
        reporter: gets the servers that were looked for and not found, and models that are left out.

    Raises:
        UsageError: where a server that was asked for is not there, or no model can be measured.
    """
    readers = {subject.name: _readers(subject) for subject in subjects}
    programs = _programs(ways, {title for titles in readers.values() for title in titles}, reporter)
    found: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        if ways.loader:
            found[subject.name, LOADER] = subject
        mine = {name: SERVERS[name] for name in programs if SERVERS[name].title in readers[subject.name]}
        for name, server in mine.items():
            through = _through(subject, name, programs[name])
            found[subject.name, name] = replace(
                subject, name=f"{subject.name} ({server.title})", through=through
            )
        if not ways.loader and not mine:
            asked = joined([SERVERS[name].title for name in programs], "or")
            reporter.warning(f"{subject.name} is left out, as {asked} does not read it")
    if not found:
        raise UsageError(
            "--through: there is nothing to measure",
            hint=f"--through {LOADER} measures everything by the loader that its card names.",
        )
    return tuple(_compared(one, way, found) for (_, way), one in found.items())


def _readers(subject: Subject) -> tuple[str, ...]:
    """The titles of the servers that read a model."""
    entry = format_of_config(_quantization(subject))
    return (Format if entry is None else entry).servers


def _through(subject: Subject, name: str, program: Path) -> Through:
    quantization = _quantization(subject)
    entry = format_of_config(quantization)
    if entry is None:
        return Through(server=name, program=program, path=subject.folder)
    try:
        path = entry.served_path(subject.folder, quantization)
    except ValueError as error:
        raise UsageError(f"{subject.name}: {error}") from error
    return Through(server=name, program=program, path=path, words=entry.served_words(quantization))


def _quantization(subject: Subject) -> Mapping[str, Any]:
    found: Mapping[str, Any] = checkpoint_config(subject.folder).get("quantization_config") or {}
    return found


def _compared(one: Subject, way: str, found: Mapping[tuple[str, str], Subject]) -> Subject:
    if one.base is None:
        return one
    base = found.get((one.base, way)) or found.get((one.base, LOADER))
    return replace(one, base=None if base is None else base.name)


def _programs(ways: Ways, readers: Collection[str], reporter: Reporter) -> dict[str, Path]:
    """The servers that measure, with their programs.

    Args:
        readers: the titles of those that read any of the models.
    """
    names = tuple(SERVERS) if ways.names is None else ways.names
    for name in ways.programs:
        if name not in names:
            raise UsageError(f"--server {name}: --through does not name it")
    found: dict[str, Path] = {}
    missing: list[Server] = []
    for name in (name for name in SERVERS if name in names):
        server = SERVERS[name]
        program = _named(name, ways.programs[name]) if name in ways.programs else _installed(server)
        if program is not None:
            found[name] = program
        elif ways.names is not None:
            raise UsageError(
                f"--through {name}: there is no program {server.program} on the PATH",
                hint=f"Say where it is: --server {name}=PROGRAM.",
            )
        elif server.title in readers:
            missing.append(server)
    if missing:
        words = joined([f"{server.title} ({server.program})" for server in missing])
        reporter.info(f"Not installed, so that nothing is measured through it: {words}")
    return found


def _named(name: str, program: Path) -> Path:
    # A link stays one: the programs of an environment of Python find it by where they are.
    whole = program.absolute()
    if not whole.is_file() or not os.access(whole, os.X_OK):
        raise UsageError(f"--server {name}: there is no program {program}")
    return whole


def _installed(server: Server) -> Path | None:
    found = shutil.which(server.program, path=command_environment().get("PATH"))
    return None if found is None else Path(found).absolute()
