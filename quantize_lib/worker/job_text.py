"""A job's tokenizer, and its text as token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantize_lib.architecture.language_model import positions, vocabulary
from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.files import read_json
from quantize_lib.generation_config import check_generation_config
from quantize_lib.job.job_file import NEW_TOKENS, JobFile, JobText
from quantize_lib.job.records import TextRecord
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.text import mend
from quantize_lib.tokenizer.examine import Room, examine
from quantize_lib.tokenizer.loading import load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor


def open_tokenizer(job: JobFile, facts: ModelFacts, reporter: Reporter) -> tuple[Any, tuple[str, ...]]:
    """The base model's tokenizer, tried, and what a user should know of it; the host may have had no way to.

    Raises:
        SourceError: where it or generation_config.json does not load, it gives no tokens or has too many for
            the model.
    """
    room = Room(
        rows=vocabulary(facts.config),
        positions=positions(facts.config, facts.tensors),
        prompt=job.prompt,
        new_tokens=NEW_TOKENS,
    )
    try:
        check_generation_config(job.model.path)
        tokenizer = load_tokenizer(job.model.path, trust_remote_code=job.model.trust_remote_code)
        notes = examine(tokenizer, job.model.path, room)
    except SourceError as error:
        raise SourceError(f"{job.model.name}: {error.message}", hint=error.hint) from error
    for note in notes:
        if note not in job.told:
            reporter.warning(f"{job.model.name}: {note}")
    return tokenizer, notes


def load_tokens(
    text: JobText, tokenizer: Any, *, rows: int, word: str, reporter: Reporter
) -> tuple[Tensor, TextRecord]:
    """Token ids, int64 (sequences, length), and what report and card say of them.

    Args:
        rows: of the model's embedding.
        word: `calibration` or `evaluation`, for messages.

    Raises:
        CalibrationError: where the text is too short, or gives a token that the model has no row for.
    """
    from quantize_lib.calibration.encodings import halves
    from quantize_lib.calibration.tokens import tokenize

    found = [mend(one) for one in read_json(text.texts)]
    if alone := sum(count for _, count in found):
        # In a file that was written by hand: the host mends what it hands over.
        reporter.warning(halves(f"{word} ({text.source})", alone))
    try:
        batch = tokenize(
            [one for one, _ in found],
            tokenizer,
            samples=text.samples,
            sequence_length=text.sequence_length,
            seed=text.seed,
            allow_short=text.allow_short,
            rows=rows,
        )
    except CalibrationError as error:
        raise CalibrationError(f"{word}: {text.source}: {error.message}", hint=error.hint) from error
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
