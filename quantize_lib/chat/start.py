"""Starts a conversation in a process of its own, which has the terminal and no token."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from quantize_lib.devices import DeviceName
from quantize_lib.environment import attach_module, ending
from quantize_lib.errors import EvaluationError, ExitCode, UsageError
from quantize_lib.files import last_line, read_json, write_json
from quantize_lib.source.checkpoint import checkpoint_config, checkpoint_positions
from quantize_lib.tasks import task_of


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """How a conversation goes.

    Attributes:
        system: what the model is told before everything else; None for nothing.
        max_new_tokens: of an answer.
        temperature: 0 takes the likeliest token each time.
        seed: of what is drawn otherwise.
        device: `auto` takes CUDA, then MPS, then the CPU.
    """

    system: str | None = None
    max_new_tokens: int = 256
    temperature: float = 0.7
    seed: int = 0
    device: DeviceName = "auto"


def chat(folder: Path, settings: ChatSettings) -> ExitCode:
    """Talk until the user leaves.

    Args:
        folder: a checkpoint or base model.

    Returns:
        `INTERRUPTED` where it was, else `OK`.

    Raises:
        UsageError: where there is no such folder, or its model continues no text.
        EvaluationError: where it does not load.
    """
    config = checkpoint_config(folder)
    task = task_of(config)
    if not task.continues:
        raise UsageError(f"{folder} is {task.words}, which continues no text")
    positions = checkpoint_positions(folder, config)
    if positions is not None and settings.max_new_tokens >= positions:
        raise UsageError(
            f"--max-new-tokens is {settings.max_new_tokens}, and the model has {positions} positions",
            hint="Leave some for what is said.",
        )
    with tempfile.TemporaryDirectory() as name:
        question, answer, log = (Path(name) / part for part in ("question.json", "answer.json", "log.txt"))
        write_json(
            question,
            {"folder": str(folder.resolve()), "log": str(log), "positions": positions, **asdict(settings)},
        )
        code = attach_module("quantize_lib.chat.session", question, answer)
        problem = read_json(answer)["error"] if answer.exists() else None
        if problem is None and code not in (ExitCode.OK, ExitCode.INTERRUPTED):
            said = f" ({last_line(log)})" if log.exists() else ""
            problem = f"its process {ending(code)}{said}"
    if problem is not None:
        raise EvaluationError(f"{folder.name}: {problem}")
    return ExitCode(code)
