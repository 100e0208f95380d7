"""Has a tokenizer tried in a container, for a host that lacks the libraries that load it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.executors.docker.container_output import MAX_ANSWER_BYTES, read_answer
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
from quantize_lib.tokenizer.question import Answer, Question

_QUESTION, _ANSWER = "question.json", "answer.json"
TRY_SECONDS = 600.0


def try_in_container(
    question: Question,
    image: str,
    memory: int,
    run: Callable[[ContainerSpec, Path, Path], Mapping[str, Any]],
) -> Answer | None:
    """Ask in a container that sees the model's folder and has no network, as for a job.

    Args:
        question: with the host's folder.
        memory: bytes that the container may take.
        run: runs a container that writes to a folder, and whose words go to a log; gives its last state.

    Returns:
        None where it gave no answer, as an older image's does: the quantizing process tries it all the same.

    Raises:
        EngineError: where the engine did not run it.
    """
    with tempfile.TemporaryDirectory() as name:
        inside, output, log = Path(name, "job"), Path(name, "output"), Path(name, "log.txt")
        inside.mkdir()
        output.mkdir(mode=0o700)
        user = container_user(output)
        check_readable(question.folder, user)
        bind, model = model_bind(question.folder)
        asked = replace(question, folder=Path(model))
        write_json(inside / _QUESTION, asked.to_json())
        let_read(inside)
        spec = ContainerSpec(
            image=image,
            user=user,
            binds=binds_of(bind, inside, output),
            command=("job", f"{JOB_FOLDER}/{_QUESTION}", "--answer", f"{OUTPUT_FOLDER}/{_ANSWER}"),
            memory=memory,
            file_size=MAX_ANSWER_BYTES,
            gpus=False,
        )
        state = run(spec, output, log)
        return _read(output / _ANSWER, len(question.texts)) if state["ExitCode"] == 0 else None


def _read(path: Path, texts: int) -> Answer | None:
    """The answer; None where there is none. What the container left is foreign."""
    try:
        return Answer.from_json(read_answer(path), texts=texts)
    except (OSError, ValueError):
        return None
