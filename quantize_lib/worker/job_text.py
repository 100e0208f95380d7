"""A job's tokenizer, and its text as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quantize_lib.architecture.language_model import positions, vocabulary
from quantize_lib.calibration.conversations import Conversation, Document, documents_from_json, mended
from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.files import read_json
from quantize_lib.generation_config import check_generation_config
from quantize_lib.job.job_file import NEW_TOKENS, JobFile, JobText, JobTextPart
from quantize_lib.job.records import TextPart, TextRecord
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
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
    import torch

    from quantize_lib.calibration.encodings import halves
    from quantize_lib.calibration.tokens import token_digest

    found = [mended(one) for one in documents_from_json(read_json(text.texts), text.texts.name)]
    if alone := sum(count for _, count in found):
        # In a file that was written by hand: the host mends what it hands over.
        reporter.warning(halves(f"{word} ({text.source})", alone))
    documents = [one for one, _ in found]
    batches: list[Tensor] = []
    parts: list[TextPart] = []
    for part in text.parts or (_whole(text, len(documents)),):
        own, documents = documents[: part.documents], documents[part.documents :]
        ids, record = _part_tokens(part, own, text, tokenizer, rows=rows, word=word, reporter=reporter)
        batches.append(ids)
        parts.append(record)
    ids = torch.cat(batches)
    return ids, TextRecord(
        source=text.source,
        dataset=text.dataset,
        revision=text.revision,
        samples=ids.shape[0],
        sequence_length=ids.shape[1],
        tokens=ids.numel(),
        tokens_digest=token_digest(ids),
        short=any(part.short for part in parts),
        conversations=sum(part.conversations for part in parts),
        chat_template_kwargs=text.chat_template_kwargs,
        parts=tuple(parts) if text.parts else (),
    )


def _whole(text: JobText, documents: int) -> JobTextPart:
    """A text of one source as the one part of itself."""
    return JobTextPart(
        documents=documents,
        source=text.source,
        dataset=text.dataset,
        revision=text.revision,
        samples=text.samples,
        chat_template_kwargs=text.chat_template_kwargs,
    )


def _part_tokens(
    part: JobTextPart,
    documents: Sequence[Document],
    text: JobText,
    tokenizer: Any,
    *,
    rows: int,
    word: str,
    reporter: Reporter,
) -> tuple[Tensor, TextPart]:
    from quantize_lib.calibration.tokens import tokenize

    try:
        batch = tokenize(
            documents,
            tokenizer,
            samples=part.samples,
            sequence_length=text.sequence_length,
            seed=text.seed,
            allow_short=text.allow_short,
            rows=rows,
            chat_template_kwargs=part.chat_template_kwargs,
        )
    except CalibrationError as error:
        raise CalibrationError(f"{word}: {part.source}: {error.message}", hint=error.hint) from error
    conversations = sum(isinstance(one, Conversation) for one in documents)
    if batch.short:
        reporter.warning(
            f"{word}: {part.source} gives {batch.ids.shape[0]} sequences of {batch.ids.shape[1]} tokens, "
            f"{part.samples} × {text.sequence_length} were asked for"
        )
    if conversations or text.parts:
        chats = f", {conversations} of its documents by the chat template" if conversations else ""
        reporter.info(f"{word}: {part.source}: {batch.ids.shape[0]} sequences{chats}")
    return batch.ids, TextPart(
        source=part.source,
        dataset=part.dataset,
        revision=part.revision,
        samples=batch.ids.shape[0],
        short=batch.short,
        conversations=conversations,
        chat_template_kwargs=part.chat_template_kwargs,
    )
