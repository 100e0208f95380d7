"""The held-out texts of a job: one batch of sequences for the pass, and what belongs to which text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from quantize_lib.errors import CalibrationError
from quantize_lib.job.job_file import JobFile
from quantize_lib.job.records import SHARED_TOKENS, TextRecord
from quantize_lib.metrics import METRICS, Figure
from quantize_lib.reporting import Reporter
from quantize_lib.worker.job_text import load_tokens

if TYPE_CHECKING:
    from torch import Tensor

_FACTOR = 6364136223846793005
"""An odd multiplier for hashes modulo 2^64 (Knuth's MMIX generator)."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What is measured on.

    Attributes:
        ids: int64 (sequences, length) of all texts, the first text's first; None without held-out text.
        first: the first text; None without any.
        texts: further ones, by name.
    """

    ids: Tensor | None = None
    first: TextRecord | None = None
    texts: Mapping[str, TextRecord] = field(default_factory=dict)

    def figures(
        self, values: Mapping[str, Tensor], base: Mapping[str, Tensor]
    ) -> tuple[dict[str, Figure], dict[str, dict[str, Figure]]]:
        """The figures on the first text, and on the further ones by name.

        Args:
            values, base: of the checkpoint and of the base model, by metric, (sequences, length - 1) of all
                texts; the base model's without the metrics that compare.
        """
        if self.first is None:
            return {}, {}
        start, further = self.first.samples, {}
        for name, text in self.texts.items():
            further[name] = _figures(values, base, slice(start, start + text.samples))
            start += text.samples
        return _figures(values, base, slice(self.first.samples)), further


def _figures(values: Mapping[str, Tensor], base: Mapping[str, Tensor], rows: slice) -> dict[str, Figure]:
    return {
        metric.name: metric.measured(
            values[metric.values_of][rows],
            base[metric.values_of][rows] if metric.values_of in base else None,
        )
        for metric in METRICS.values()
        if metric.values_of in values
    }


def load_held_out(
    job: JobFile, calibration: Tensor | None, tokenizer: Any, *, rows: int, reporter: Reporter
) -> HeldOut:
    """Tokens of every held-out text; a warning where one has sequences that were seen in calibration.

    Args:
        calibration: token ids, (samples, length); None where no cell needs any.
        rows: of the model's embedding.

    Raises:
        CalibrationError: where a text is too short, or gives a token that the model has no row for.
    """
    import torch

    if job.evaluation is None:
        return HeldOut()
    ids: list[Tensor] = []
    records: dict[str, TextRecord] = {}
    seen = None if calibration is None else _runs(calibration).flatten().unique()
    for name, text in {"": job.evaluation, **job.texts}.items():
        word = f"evaluation, {name}" if name else "evaluation"
        try:
            found, record = load_tokens(text, tokenizer, rows=rows, word=word, reporter=reporter)
        except CalibrationError as error:
            if not text.optional:
                raise
            reporter.info(f"{name} are not measured: {error.message}")
            continue
        if ids and found.shape[1] != ids[0].shape[1]:
            raise CalibrationError(
                f"{word}: sequences of {found.shape[1]} tokens do not go with those of {ids[0].shape[1]}"
            )
        if seen is not None:
            shared = int(torch.isin(_runs(found), seen).any(1).sum())
            record = replace(record, shared=shared)
            if record.seen is not None:
                reporter.warning(f"{word}: {text.source}: {record.seen}")
        ids.append(found)
        records[name] = record
    return HeldOut(ids=torch.cat(ids), first=records.pop(""), texts=records)


def _runs(ids: Tensor) -> Tensor:
    """A 64-bit hash of every run of `SHARED_TOKENS` tokens, int64 (sequences, runs); without any, 0 runs.

    A polynomial of the ids modulo 2^64, built by doubling: from runs of n tokens those of 2n.
    """
    hashes, factor = ids + 1, _FACTOR
    length = 1
    while length < SHARED_TOKENS:
        if hashes.shape[1] <= length:
            return ids[:, :0]
        # int64 wraps around.
        hashes = hashes[:, :-length] * factor + hashes[:, length:]
        factor = _wrapped(factor * factor)
        length *= 2
    return hashes


def _wrapped(value: int) -> int:
    """An integer modulo 2^64, as int64 has it."""
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value
