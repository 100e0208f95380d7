"""A job's text as token ids."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.errors import CalibrationError
from quantize_lib.files import read_json
from quantize_lib.job.job_file import JobModel, JobText
from quantize_lib.job.records import TextRecord
from quantize_lib.reporting import Reporter

if TYPE_CHECKING:
    from torch import Tensor


def load_tokens(
    text: JobText, model: JobModel, *, word: str, reporter: Reporter
) -> tuple[Tensor, TextRecord]:
    """Token ids, int64 (sequences, length), and what report and card say of them.

    Args:
        word: `calibration` or `evaluation`, for messages.

    Raises:
        CalibrationError: where the tokenizer does not load or the text is too short.
    """
    from transformers import AutoTokenizer

    from quantize_lib.calibration.tokens import tokenize

    try:
        _check_tokenizer(model.path / "tokenizer.json")
        tokenizer = AutoTokenizer.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibrationError(f"the tokenizer of {model.name} cannot be loaded: {error}") from error
    batch = tokenize(
        read_json(text.texts),
        tokenizer,
        samples=text.samples,
        sequence_length=text.sequence_length,
        seed=text.seed,
        allow_short=text.allow_short,
    )
    if batch.short:
        reporter.warning(
            f"{word}: {text.source} gives {batch.ids.shape[0]} sequences of {batch.ids.shape[1]} tokens, "
            f"{text.samples} × {text.sequence_length} were asked for"
        )
    record = TextRecord(
        source=text.source,
        dataset=text.dataset,
        revision=text.revision,
        samples=batch.ids.shape[0],
        sequence_length=batch.ids.shape[1],
        tokens=batch.ids.numel(),
        tokens_digest=batch.digest,
        short=batch.short,
    )
    return batch.ids, record


def _check_tokenizer(file: Path) -> None:
    """The tokenizers library raises the bare `Exception` for a damaged file; this says it better.

    Raises:
        ValueError: where it is no tokenizer.
    """
    if not file.exists():
        return
    data = read_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise ValueError(f"{file.name} holds no tokenizer")
