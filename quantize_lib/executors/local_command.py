"""A test command with the local executor: a child process that holds no token."""

from __future__ import annotations

from pathlib import Path

from quantize_lib.command.files import copy_files
from quantize_lib.command.question import CommandAnswer, CommandQuestion
from quantize_lib.command.run import run_command
from quantize_lib.command.spec import CommandSpec
from quantize_lib.devices import DeviceName
from quantize_lib.errors import CheckpointError
from quantize_lib.reporting import Reporter


def run_command_here(
    spec: CommandSpec,
    checkpoint: Path | None,
    *,
    device: DeviceName,  # noqa: ARG001 - the process sees all there are
    work: Path,
    log: Path,
    reporter: Reporter,  # noqa: ARG001 - what it prints is the log's
) -> CommandAnswer:
    """Run a command on a checkpoint, or look for its program alone; as `host.command_runs.RunCommand`.

    It sees the checkpoint in a folder of links: what it writes beside them is not the checkpoint's.

    Raises:
        CheckpointError: where it changed a file of the checkpoint.
        UsageError: where its files cannot be read or copied.
        OSError: where the disk takes no more.
    """
    folder = work / "folder"
    folder.mkdir()
    copy_files(spec, folder)
    view, before = None, {}
    if checkpoint is not None:
        view, before = work / "checkpoint" / checkpoint.name, _files(checkpoint)
        for name in before:
            link = view / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(checkpoint.absolute() / name)
    question = CommandQuestion(
        words=spec.words,
        checkpoint=view,
        folder=folder,
        figures=work / "figures.json",
        timeout=spec.timeout,
    )
    with log.open("wb") as output:
        answer = run_command(question, output)
    if checkpoint is not None and (changed := before.items() ^ _files(checkpoint).items()):
        names = ", ".join(sorted({name for name, _ in changed}))
        raise CheckpointError(
            f"{checkpoint.name}: the test command changed the checkpoint ({names})",
            hint="It may read the checkpoint, and write into its current folder.",
        )
    return answer


def _files(folder: Path) -> dict[str, tuple[int, ...]]:
    """The files with what changes when they are written to."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            status = path.lstat()
            found[path.relative_to(folder).as_posix()] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found
