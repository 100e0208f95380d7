"""Loads a tokenizer and tries it, and generation_config.json beside it; run in a process of its own.

`python -m quantize_lib.tokenizer.probe QUESTION.json ANSWER.json`, both as `question` says. What is wrong
with the tokenizer or a text stands in the answer; everything else that goes wrong ends the process.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.calibration.chat_template import has_template
from quantize_lib.calibration.windows import check_ends, cut_windows
from quantize_lib.environment import end_with_parent
from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.files import read_json, write_json
from quantize_lib.generation_config import check_generation_config
from quantize_lib.source.tidied import tidied
from quantize_lib.tokenizer.examine import examine
from quantize_lib.tokenizer.loading import load_tokenizer
from quantize_lib.tokenizer.question import Answer, AskedText, Question


def main(arguments: list[str]) -> int:
    """Entry point; see the module."""
    end_with_parent()
    try_tokenizer(*map(Path, arguments))
    return 0


def try_tokenizer(question_file: Path, answer_file: Path) -> None:
    """Answer a question, file by file; the process does nothing else."""
    # Tokenizers need no torch, whose import takes longer than all the rest.
    sys.modules["torch"] = None  # type: ignore[assignment]
    question = Question.from_json(read_json(question_file))
    with tidied(question.folder, answer_file.parent) as folder:
        write_json(answer_file, answer(replace(question, folder=folder)).to_json())


def answer(question: Question) -> Answer:
    """Load, look, and cut the texts as the run will."""
    try:
        check_generation_config(question.folder)
        tokenizer = load_tokenizer(question.folder, trust_remote_code=False)
        notes = examine(tokenizer, question.folder, question.room)
    except SourceError as error:
        return Answer(error=error)
    rows = question.room.rows
    return Answer(
        notes=notes,
        chat_template=has_template(tokenizer),
        texts=tuple(_problem(tokenizer, text, rows) for text in question.texts),
    )


def _problem(tokenizer: Any, text: AskedText, rows: int) -> CalibrationError | None:
    try:
        if text.texts is None:
            check_ends(tokenizer, rows)
        else:
            cut_windows(
                text.texts,
                tokenizer,
                samples=text.samples,
                sequence_length=text.sequence_length,
                seed=text.seed,
                allow_short=text.allow_short,
                rows=rows,
                chat_template_kwargs=text.chat_template_kwargs,
            )
    except CalibrationError as error:
        return error
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
