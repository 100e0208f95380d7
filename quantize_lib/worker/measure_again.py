"""Measures a part of a checkpoint's held-out text again, and compares with what its report says of it."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import EvaluationError, UsageError
from quantize_lib.job.job_file import DEFAULT_PROMPT
from quantize_lib.job.records import TextRecord
from quantize_lib.metrics import COMPARED
from quantize_lib.reporting import Reporter
from quantize_lib.worker.evaluate_folder import held_out_tokens

SEQUENCES = 4
"""So many of the text's first ones are measured: a sample, as the rest would say the same."""
_DATASET = re.compile(r"(?P<dataset>\S+) \((?:(?P<config>.+), )?(?P<split>[^,()]+)\)")
"""How a report names a data set (`Texts.source`). What is read wrong gives other tokens, which is seen."""


@dataclass(frozen=True, kw_only=True)
class MeasuredAgain:
    """What came of it.

    Attributes:
        sequences: how many were measured.
        figures: the measured and the recorded figure on them, by the metric's name; of metrics that need no
            base model.
        reproduced: whether they differ by rounding alone.
    """

    sequences: int
    figures: Mapping[str, tuple[float, float]]
    reproduced: bool


def measure_again(
    folder: Path,
    text: TextRecord,
    means: Mapping[str, Sequence[float]],
    files: Sequence[Path],
    *,
    reporter: Reporter,
) -> MeasuredAgain:
    """Load a checkpoint with plain transformers in a fresh process and measure it on recorded text.

    Args:
        folder: the checkpoint.
        text: what its report says of the held-out text.
        means: by the metric's name, the recorded mean of each sequence.
        files: the held-out text; without any, the recorded data set is fetched from the Hub.

    Raises:
        UsageError: where there is no such file, or its text is not the recorded one.
        CalibrationError: where the text cannot be read, or is too short.
        EvaluationError: where the checkpoint does not load, or the report says too little to compare with.
    """
    import torch

    from quantize_lib.calibration.tokens import token_digest
    from quantize_lib.checkpoint.shards import write_tensors
    from quantize_lib.evaluate.check import check_reload

    expected = {
        name: math.fsum(means[name][:SEQUENCES]) / len(means[name][:SEQUENCES])
        for name in COMPARED
        if means.get(name)
    }
    if expected.keys() != COMPARED.keys():
        raise EvaluationError(f"{folder}: its report has no figures by sequence to compare with")
    ids: torch.Tensor = held_out_tokens(
        folder, _spec(text, files), dict(text.chat_template_kwargs), reporter=reporter
    )
    if token_digest(ids) != text.tokens_digest:
        source = "the files of --text" if files else text.source
        raise UsageError(
            f"{source}: that is not the text of the report ({text.source}, {text.tokens} tokens)",
            hint="Give --text the manifest's held-out files, in its order and with their seed at 0.",
        )
    with tempfile.TemporaryDirectory() as name, reporter.group(f"Measuring {folder.name}"):
        work = Path(name)
        sample = work / "sample.safetensors"
        write_tensors(sample, [("ids", ids[:SEQUENCES])], count=1)
        reload = check_reload(
            folder,
            prompt=DEFAULT_PROMPT,
            sample=sample,
            base_logits=None,
            expected=expected,
            work=work,
        )
    return MeasuredAgain(
        sequences=min(SEQUENCES, ids.shape[0]),
        figures={
            name: (figure.reloaded, figure.of_pass)
            for name, figure in reload.sample.items()
            if figure.reloaded is not None and figure.of_pass is not None
        },
        reproduced=reload.reproduced,
    )


def _spec(text: TextRecord, files: Sequence[Path]) -> TextSpec:
    size = TextSpec(samples=text.samples, sequence_length=text.sequence_length)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UsageError(f"--text: there is no file {missing[0]}")
    if files:
        return replace(size, files=tuple(file.absolute() for file in files))
    found = None if text.dataset is None else _DATASET.fullmatch(text.source)
    if found is None:
        raise UsageError(
            f"--measure needs the held-out text ({text.source})", hint="Give its files with --text."
        )
    return replace(
        size,
        dataset=found["dataset"],
        config=found["config"],
        split=found["split"],
        revision=text.revision,
    )
