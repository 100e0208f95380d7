"""What is asked of the process that tries a tokenizer, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quantize_lib.calibration.conversations import Document, documents_from_json, documents_to_json
from quantize_lib.errors import QuantizerError, error_of
from quantize_lib.tokenizer.examine import Room


@dataclass(frozen=True, kw_only=True)
class AskedText:
    """Text whose ids are asked for.

    Attributes:
        texts: documents; None where only the run reads them (a data set).
        samples, sequence_length, seed, allow_short, chat_template_kwargs: as for `cut_windows`.
    """

    texts: tuple[Document, ...] | None
    samples: int
    sequence_length: int
    seed: int
    allow_short: bool
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A tokenizer and what is to be done with it.

    Attributes:
        folder: with the tokenizer's files and `config.json`.
    """

    folder: Path
    room: Room
    texts: tuple[AskedText, ...]

    def to_json(self) -> dict[str, Any]:
        """As it is written for the process, and the part of a cache's key that is not the files."""
        return {
            **asdict(self),
            "folder": str(self.folder),
            "texts": [
                {**asdict(text), "texts": None if text.texts is None else documents_to_json(text.texts)}
                for text in self.texts
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Question:
        """The question that `to_json` gave."""
        return cls(
            folder=Path(data["folder"]),
            room=Room(**data["room"]),
            texts=tuple(_asked(text) for text in data["texts"]),
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was found; errors come without the model's name.

    Attributes:
        error: why the tokenizer cannot be used.
        notes: what a user should know of it.
        chat_template: whether it can write conversations as text.
        texts: why a text cannot be used, in the question's order; empty where the tokenizer cannot.
    """

    error: QuantizerError | None = None
    notes: tuple[str, ...] = ()
    chat_template: bool = False
    texts: tuple[QuantizerError | None, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is written by the process."""
        return {
            "error": _error_to_json(self.error),
            "notes": list(self.notes),
            "chat_template": self.chat_template,
            "texts": [_error_to_json(error) for error in self.texts],
        }

    @classmethod
    def from_json(cls, data: Any, *, texts: int) -> Answer:
        """The answer that `to_json` gave.

        Args:
            texts: how many were asked for.

        Raises:
            ValueError: where the data is no such answer.
        """
        try:
            error = _error_from_json(data["error"])
            answer = cls(
                error=error,
                notes=tuple(_text(note) for note in data["notes"]),
                chat_template=data["chat_template"] is True,
                texts=tuple(_error_from_json(one) for one in data["texts"]),
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"no answer: {problem}") from problem
        if error is None and len(answer.texts) != texts:
            raise ValueError("an answer to another question")
        return answer


def _asked(data: Mapping[str, Any]) -> AskedText:
    texts = data["texts"]
    return AskedText(
        **{**data, "texts": None if texts is None else tuple(documents_from_json(texts, "the question"))}
    )


def _error_to_json(error: QuantizerError | None) -> dict[str, Any] | None:
    return None if error is None else {"code": str(error.code), "message": error.message, "hint": error.hint}


def _error_from_json(data: Any) -> QuantizerError | None:
    if data is None:
        return None
    hint = data["hint"]
    return error_of(_text(data["code"]), _text(data["message"]), hint=None if hint is None else _text(hint))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value
