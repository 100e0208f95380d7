"""A test command in a container: without network and token, the checkpoint read-only as a job's model is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.command.files import copy_files
from quantize_lib.command.question import CommandAnswer, CommandQuestion
from quantize_lib.command.spec import CommandSpec
from quantize_lib.executors.docker.container_output import OutputLimits, hand_to, read_answer
from quantize_lib.executors.docker.container_spec import (
    JOB_FOLDER,
    OUTPUT_FOLDER,
    ContainerSpec,
    binds_of,
    check_readable,
    container_user,
    let_read,
    model_bind,
)
from quantize_lib.files import write_json

_QUESTION, _ANSWER = "question.json", "answer.json"
_FOLDER = "folder"
_OWN_BYTES = 2 * 2**30
"""Room for what it writes into its current folder, beside its files."""
_MARGIN_SECONDS = 60.0
"""For the container itself: within it the command has its own limit."""


def run_in_container(
    spec: CommandSpec,
    checkpoint: Path | None,
    *,
    image: str,
    memory: int,
    gpus: bool,
    work: Path,
    run: Callable[[ContainerSpec, OutputLimits, Path, float], Mapping[str, Any]],
) -> CommandAnswer:
    """Run a command on a checkpoint, or look for its program alone.

    Args:
        memory: bytes that the container may take.
        gpus: whether it gets them.
        work: an empty folder.
        run: runs a container that writes to a folder for so many seconds; gives its last state.

    Raises:
        EngineError: where the engine did not run it, or it took too much.
        UsageError: where its files cannot be read or copied.
        OSError: where the disk takes no more.
    """
    inside, output = work / "job", work / "output"
    inside.mkdir()
    output.mkdir(mode=0o700)
    folder = output / _FOLDER
    folder.mkdir()
    copy_files(spec, folder)
    given = sum(path.stat().st_size for path in folder.rglob("*"))
    user = container_user(output)
    hand_to(folder, user)
    bind, place = None, None
    if checkpoint is not None:
        check_readable(checkpoint, user)
        bind, place = model_bind(checkpoint)
    question = CommandQuestion(
        words=spec.words,
        checkpoint=None if place is None else Path(place),
        folder=Path(OUTPUT_FOLDER, _FOLDER),
        figures=Path(OUTPUT_FOLDER, "figures.json"),
        timeout=spec.timeout,
    )
    write_json(inside / _QUESTION, question.to_json())
    let_read(inside)
    size = 2 * given + _OWN_BYTES
    container = ContainerSpec(
        image=image,
        user=user,
        binds=binds_of(bind, inside, output),
        command=("job", f"{JOB_FOLDER}/{_QUESTION}", "--test", f"{OUTPUT_FOLDER}/{_ANSWER}"),
        memory=memory,
        file_size=size,
        gpus=gpus,
    )
    state = run(container, OutputLimits(size=size), output, spec.timeout + _MARGIN_SECONDS)
    if state["ExitCode"] != 0:
        reason = "memory ran out" if state.get("OOMKilled") else f"exit code {state['ExitCode']}"
        return CommandAnswer(problem=f"could not be run in its container ({reason})")
    return _read(output / _ANSWER)


def _read(path: Path) -> CommandAnswer:
    """The answer. What the container left is foreign."""
    try:
        return CommandAnswer.from_json(read_answer(path))
    except (OSError, ValueError):
        return CommandAnswer(problem="could not be run in its container (it left no answer)")
