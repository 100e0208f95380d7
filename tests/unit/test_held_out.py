"""Several held-out texts: what goes through the pass together, and whose figures are whose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from quantize_lib.files import write_json
from quantize_lib.job.job_file import JobFile, JobModel, JobText
from quantize_lib.job.records import SHARED_TOKENS
from quantize_lib.metrics import MEANS, METRICS
from quantize_lib.worker.held_out import HeldOut, load_held_out
from tests.support.quantizing import Silent
from tests.support.records import TEXT

LENGTH = 100


class _Reporter(Silent):
    """Keeps what is warned of."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def warning(self, message: str) -> None:
        self.warned.append(message)


class _Numbers:
    """A tokenizer of texts that are numbers."""

    eos_token_id = None
    unk_token_id = None

    def __call__(self, text: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] if one == "a" else list(map(int, one.split())) for one in text]}

    def convert_ids_to_tokens(self, ids: int) -> object:
        return str(ids)


def job(folder: Path, texts: dict[str, torch.Tensor]) -> JobFile:
    """A job whose held-out texts give these ids; the first is the one without a name."""

    def text(name: str, ids: torch.Tensor) -> JobText:
        path = folder / f"{name or 'first'}.json"
        write_json(path, [" ".join(map(str, ids.flatten().tolist()))])
        return JobText(
            texts=path,
            source="1 text",
            dataset=None,
            revision="r",
            samples=ids.shape[0],
            sequence_length=LENGTH,
        )

    given = {name: text(name, ids) for name, ids in texts.items()}
    return JobFile(
        id="j",
        model=JobModel(path=folder, name="m", revision="r"),
        device="cpu",
        calibration=None,
        evaluation=given.pop(""),
        texts=given,
        cells=(),
        output=folder,
    )


def ids(sequences: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 50_000, (sequences, LENGTH), generator=generator)


def load(
    tmp_path: Path, texts: dict[str, torch.Tensor], calibration: torch.Tensor | None
) -> tuple[HeldOut, list[str]]:
    reporter = _Reporter()
    found = load_held_out(job(tmp_path, texts), calibration, _Numbers(), rows=50_000, reporter=reporter)
    return found, reporter.warned


def test_all_texts_go_through_the_pass_together_the_first_one_first(tmp_path: Path) -> None:
    texts = {"": ids(3, 0), "code": ids(2, 1), "german": ids(4, 2)}
    found, warned = load(tmp_path, texts, None)
    assert found.ids is not None
    assert torch.equal(found.ids, torch.cat(list(texts.values())))
    assert found.first is not None
    assert found.first.samples == 3
    assert {name: text.samples for name, text in found.texts.items()} == {"code": 2, "german": 4}
    assert warned == []


def test_a_text_s_figures_are_of_its_own_sequences() -> None:
    held_out = HeldOut(
        first=replace(TEXT, samples=3),
        texts={"code": replace(TEXT, samples=2), "german": replace(TEXT, samples=4)},
    )
    generator = torch.Generator().manual_seed(7)
    values = {name: torch.rand(9, 20, generator=generator) for name in MEANS}
    base = {name: torch.rand(9, 20, generator=generator) for name, one in MEANS.items() if not one.compares}
    first, further = held_out.figures(values, base)
    assert list(further) == ["code", "german"]
    for rows, figures in (
        (slice(0, 3), first),
        (slice(3, 5), further["code"]),
        (slice(5, 9), further["german"]),
    ):
        assert figures == {
            name: metric.measured(
                values[metric.values_of][rows],
                base[metric.values_of][rows] if metric.values_of in base else None,
            )
            for name, metric in METRICS.items()
        }
    assert HeldOut().figures({}, {}) == ({}, {})


@pytest.mark.parametrize(("run", "shared"), [(SHARED_TOKENS - 1, 0), (SHARED_TOKENS, 1), (LENGTH, 1)])
def test_a_sequence_is_known_from_calibration_by_so_many_tokens_in_a_row(
    run: int, shared: int, tmp_path: Path
) -> None:
    calibration, text = ids(5, 0), ids(4, 1)
    # At another place than there.
    text[2, LENGTH - run :] = calibration[3, :run]
    found, warned = load(tmp_path, {"": ids(2, 2), "code": text}, calibration)
    assert found.first is not None
    assert (found.first.shared, found.texts["code"].shared) == (0, shared)
    assert len(warned) == shared
    assert all(
        "1 of 4 sequences (25%) have 64 tokens in a row in common with the calibration text" in line
        and line.startswith("evaluation, code: ")
        for line in warned
    )


def test_short_sequences_are_never_called_known(tmp_path: Path) -> None:
    text = ids(2, 0)
    found, _ = load(tmp_path, {"": text}, text[:, : SHARED_TOKENS - 1])
    assert found.first is not None
    assert found.first.shared == 0
