"""Compares a model's headers with its own class before its weights are there; run in a process of its own.

`python -m quantize_lib.engine.agreement QUESTION.json ANSWER.json`: the question is that of
`architecture.as_json`, the answer holds the error in whose words the two disagree, or null.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.architecture.as_json import from_json
from quantize_lib.architecture.config_values import run_config
from quantize_lib.environment import end_with_parent
from quantize_lib.errors import SourceError
from quantize_lib.files import read_json, write_json


def main(arguments: list[str]) -> int:
    """Entry point; see the module."""
    end_with_parent()
    question_file, answer_file = map(Path, arguments)
    write_json(answer_file, _answer(read_json(question_file)))
    return 0


def _answer(question: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    from quantize_lib.engine.skeleton import Skeleton

    facts = from_json(question)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / str(question["name"])
        folder.mkdir()
        write_json(folder / "config.json", run_config(facts.config))
        try:
            Skeleton(folder, facts, dtype=torch.float32).check_agreement()
        except SourceError as error:
            return {"error": {"message": error.message, "hint": error.hint}}
    return {"error": None}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
