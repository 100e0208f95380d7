"""A task of lm-evaluation-harness in a file of its own: which sentence goes on with a news story."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ENDINGS = """task: endings
dataset_path: json
dataset_kwargs: {data_files: {test: endings.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""


def write_endings(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The task's file in a new folder, with its data beside it.

    Args:
        rows: each with `text`, `choices` and `answer`, the number of the right one.
    """
    folder.mkdir()
    (folder / "endings.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    file = folder / "endings.yml"
    file.write_text(ENDINGS, encoding="utf-8")
    return file


def endings_of(news: Path, count: int) -> list[dict[str, Any]]:
    """Rows of the first stories of a file of news: the first sentence, and the second of each of them."""
    with news.open(encoding="utf-8") as lines:
        stories = [json.loads(next(lines))["text"].split(". ")[:2] for _ in range(count)]
    choices = [f" {second.rstrip('.')}." for _, second in stories]
    return [
        {"text": f"{first}.", "choices": choices, "answer": number}
        for number, (first, _) in enumerate(stories)
    ]
