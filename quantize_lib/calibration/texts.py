"""Collects text from a data set, from files or from the manifest itself, no more of it than is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantize_lib.calibration.conversations import Conversation, Document, mended
from quantize_lib.calibration.datasets import dataset_commit, read_dataset
from quantize_lib.calibration.encodings import halves
from quantize_lib.calibration.text_files import read_file
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import CalibrationError
from quantize_lib.wording import joined

CHARACTERS_PER_TOKEN = 12
"""Far above what a tokenizer makes of prose (3 to 5), so that there is something to choose from."""

BUILT_IN = "conversations of Model Quantizer"
"""What report and card call those that come with the package."""
_CONVERSATIONS = Path(__file__).with_name("conversations.jsonl")
"""Written for this project, under its licence."""
_NAMED = 3
"""Files that a message names; of more it gives the number."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Collected documents.

    Attributes:
        texts: none of them empty, in the order of their source.
        source: for a person, as in `Salesforce/wikitext (wikitext-2-raw-v1, train)`, `3 files`, `2 texts`.
        dataset: Hub id of the data set; None for files and texts.
        revision: 40-hex commit of the data set; `sha256:…` of the collected documents for files and texts.
        notes: what the user should know of them, sentences without their full stop.
        parts: what the sources of a mix gave, in its order; empty for a single source.
    """

    texts: tuple[Document, ...]
    source: str
    dataset: str | None
    revision: str
    notes: tuple[str, ...] = ()
    parts: tuple[Texts, ...] = ()


def mixed(spec: TextSpec, parts: Sequence[Texts]) -> Texts:
    """What the sources of a mix gave, as one.

    Args:
        spec: the mix.
        parts: of each source, in the mix's order.
    """
    return Texts(
        texts=tuple(document for part in parts for document in part.texts),
        source=joined(
            f"{part.source} × {source.samples}" for part, source in zip(parts, spec.mix, strict=True)
        ),
        dataset=None,
        revision=mixed_revision([part.revision for part in parts]),
        parts=tuple(parts),
    )


def mixed_revision(revisions: Iterable[str]) -> str:
    """The revision of a mix, by those of its sources in their order."""
    return _digest(tuple(revisions))


def collect_texts(spec: TextSpec, *, token: str | None, commit: str | None = None) -> Texts:
    """Collect documents until there are about three times as many characters as the tokens asked for need.

    What a file's documents are: `file_kinds.KINDS`. Half of a surrogate pair, which no tokenizer and no file
    takes, becomes U+FFFD.

    Args:
        spec: where the text comes from and how much is asked for; one source, no mix.
        token: for a private or gated data set.
        commit: of a data set, where it is known already; looked up otherwise.

    Raises:
        CalibrationError: where there is no text, or it cannot be read, naming the place.
    """
    limit = spec.samples * spec.sequence_length * CHARACTERS_PER_TOKEN
    collector = _Collector(limit)
    if spec.dataset is not None:
        revision = commit or dataset_commit(spec.dataset, spec.revision, token=token)
        rows = read_dataset(spec, spec.dataset, commit=revision, token=token)
        details = ", ".join(part for part in (spec.config, spec.split) if part)
        source = f"{spec.dataset} ({details})"
        texts = collector.collect([(source, rows)])
    elif spec.files:
        files = (
            (f"{path}", read_file(path, column=spec.column, limit=limit, note=collector.note))
            for path in spec.files
        )
        texts = collector.collect(files)
        source, revision = _counted(len(spec.files), "file"), _digest(texts)
    elif spec.built_in:
        source = BUILT_IN
        rows = read_file(_CONVERSATIONS, column="messages", limit=limit, note=collector.note)
        texts = collector.collect([(source, rows)])
        revision = _digest(texts)
    else:
        source = _counted(len(spec.texts), "text")
        texts = collector.collect([(source, spec.texts)])
        revision = _digest(texts)
    if not texts:
        named = joined([f"{path}" for path in spec.files[:_NAMED]]) if len(spec.files) <= _NAMED else ""
        raise CalibrationError(
            f"{named or source}: there is no text in it", hint="Name a source that holds text."
        )
    if spec.chat_template_kwargs and all(isinstance(text, str) for text in texts):
        collector.note(f"{source} holds no conversations, so `chat_template_kwargs` changes nothing")
    return Texts(
        texts=texts, source=source, dataset=spec.dataset, revision=revision, notes=tuple(collector.notes)
    )


class _Collector:
    """Takes documents until there are enough of them.

    Attributes:
        notes: what the user should know, each once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.notes: list[str] = []

    def collect(self, sources: Iterable[tuple[str, Iterable[Document]]]) -> tuple[Document, ...]:
        """Documents with something in them, the last one cut off at the limit where it is a text.

        Args:
            sources: names for messages, each with its documents.
        """
        found: list[Document] = []
        left = self._limit
        for place, texts in sources:
            alone = 0
            for text in texts:
                whole, halves_in_it = mended(text)
                alone += halves_in_it
                if isinstance(whole, Conversation):
                    if any(message["content"].strip() for message in whole.messages):
                        found.append(whole)
                        left -= len(whole)
                elif whole.strip():
                    found.append(whole[:left])
                    left -= len(whole)
                if left <= 0:
                    break
            if alone:
                self.note(halves(place, alone))
            if left <= 0:
                break
        return tuple(found)

    def note(self, text: str) -> None:
        """Keep a sentence."""
        self.notes.append(text)


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _digest(texts: Iterable[Document]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        if isinstance(text, Conversation):
            # No text has a length that begins so.
            digest.update(b"messages ")
            text = json.dumps(text.messages, sort_keys=True)
        data = text.encode("utf-8", errors="surrogatepass")
        digest.update(f"{len(data)}\0".encode())
        digest.update(data)
    return f"sha256:{digest.hexdigest()}"
