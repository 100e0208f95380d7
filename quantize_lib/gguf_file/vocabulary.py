"""The vocabulary in a GGUF file, by which llama.cpp splits text as the base model's own files do.

llama.cpp has the ways of splitting text built in, each under a name. The name is found by what tokenizer.json
says, not by trying a text: a tokenizer that none of them describes is refused. Vocabularies of SentencePiece
(`pieces`) have scores in place of a name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.errors import EngineError
from quantize_lib.gguf_file.pieces import BYTES, SPACE, has_pieces, piece_scores, space_before, steps_of

if TYPE_CHECKING:
    from gguf import GGUFWriter

TOKENIZER_FILE = "tokenizer.json"
_BYTE_LEVEL, _PIECES = "gpt2", "llama"
"""llama.cpp's words for merged pairs over bytes, and for SentencePiece."""
_NO_NAME = "default"
"""Of splitting text, where scores say it."""
_UNKNOWN = "<unk>"
_UNSCORED = -1e6
"""Of tokens that no pair makes."""
_AT_MATCHES = frozenset({("Isolated", False), ("Removed", True)})
"""How an expression's matches become words: everything is split at them, or they are all that is taken."""
_PROBE = "a"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A tokenizer.json that a GGUF file can say.

    Attributes:
        splitting: llama.cpp's name for how text is split.
        tokens: by id, as far as they go.
        kinds: of each, a `gguf.TokenType`.
        scores: of each, of SentencePiece's; else empty.
        space_before: whether a space is put before a text; None where that is said by the name.
    """

    splitting: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    scores: tuple[float, ...] = ()
    space_before: bool | None = None


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The vocabulary of a model's folder.

    Args:
        size: rows of the embedding; ids beyond the tokens are filled up.

    Raises:
        EngineError: where it is not one that a GGUF file can say.
    """
    from gguf import TokenType

    data = _read(folder)
    words = data["model"].get("vocab")
    _check_model(data)
    scores = _scores(data)
    kinds = {int(number): (str(word), _kind(str(word), data)) for word, number in words.items()}
    for added in data.get("added_tokens") or ():
        kinds[int(added["id"])] = _added(added, pieces=scores is not None)
    if max(kinds) >= size:
        raise _refused(f"it has a token {max(kinds)}, and the embedding {size} rows")
    filled = [kinds.get(number, (f"[PAD{number}]", int(TokenType.UNUSED))) for number in range(size)]
    tokens, types = zip(*filled, strict=True)
    if scores is None:
        return Vocabulary(splitting=_splitting(data), tokens=tokens, kinds=types)
    return Vocabulary(
        splitting=_NO_NAME,
        tokens=tokens,
        kinds=types,
        scores=tuple(scores.get(token, _UNSCORED) for token in tokens),
        space_before=space_before(data),
    )


def vocabulary_refusal(folder: Path, size: int | None = None) -> str | None:
    """Why a folder's tokenizer.json cannot be said in a GGUF file; None where it can.

    Args:
        size: rows of the embedding, where the vocabulary is to be tried as a whole, which runs the tokenizer;
            without it the file alone is looked at.
    """
    try:
        if size is not None:
            from gguf import GGUFWriter

            # Nothing of it is written to a disk.
            write_vocabulary(GGUFWriter(None, ""), folder, size)
            return None
        data = _read(folder)
        _check_model(data)
        if _scores(data) is None:
            _splitting(data)
    except EngineError as error:
        return error.message
    return None


def write_vocabulary(writer: GGUFWriter, folder: Path, size: int) -> None:
    """Write a folder's vocabulary, special tokens and chat template into a file.

    Raises:
        EngineError: where it is not one that a GGUF file can say.
    """
    try:
        _write(writer, folder, size)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _refused(f"it cannot be read ({error})") from error


def _write(writer: GGUFWriter, folder: Path, size: int) -> None:
    from gguf import SpecialVocab

    found = read_vocabulary(folder, size)
    writer.add_tokenizer_model(_PIECES if found.scores else _BYTE_LEVEL)
    writer.add_tokenizer_pre(found.splitting)
    writer.add_token_list(list(found.tokens))
    if found.scores:
        writer.add_token_scores(list(found.scores))
    writer.add_token_types(list(found.kinds))
    if found.space_before is not None:
        writer.add_add_space_prefix(found.space_before)
    special = SpecialVocab(folder, load_merges=not found.scores, n_vocab=size)
    special.add_special_token = _added_around(folder, special.special_token_ids)
    special.add_to_gguf(writer, quiet=True)


def _added_around(folder: Path, special: Mapping[str, int]) -> dict[str, bool]:
    """Whether the tokenizer puts tokens before and after every text."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    except Exception as error:
        # The library raises nothing more exact.
        raise _refused(f"it cannot be read ({error})") from error
    bare = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    whole = tokenizer.encode(_PROBE).ids
    before, after = whole[: whole.index(bare[0])], whole[whole.index(bare[0]) + len(bare) :]
    for added, name in ((before, "bos"), (after, "eos")):
        if added not in ([], [special.get(name)]):
            raise _refused(f"it puts the tokens {before} before a text and {after} after it")
    return {"bos": bool(before), "eos": bool(after)}


def _read(folder: Path) -> dict[str, Any]:
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise _refused("there is no such file")
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(f"it cannot be read ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise _refused("it is no tokenizer")
    return data


def _check_model(data: Mapping[str, Any]) -> None:
    if data["model"].get("type") != "BPE" or not isinstance(data["model"].get("vocab"), dict):
        raise _refused(f"its model is {data['model'].get('type')!r}, not BPE")


def _scores(data: Mapping[str, Any]) -> dict[str, float] | None:
    """The scores of a vocabulary of SentencePiece; None for another one."""
    if not has_pieces(data):
        return None
    if space_before(data) is None:
        steps = (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"))
        done = [step for key, keys in steps for step in steps_of(data.get(key), keys)]
        raise _refused(f"llama.cpp does not change text as it does ({_types(done) or 'not at all'})")
    try:
        return piece_scores(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise _refused(f"it cannot be read ({error})") from error
    except ValueError as error:
        raise _refused(str(error)) from error


def _kind(word: str, data: Mapping[str, Any]) -> int:
    """What llama.cpp has to know of a token of the model's own."""
    from gguf import TokenType

    if has_pieces(data):
        if word in BYTES:
            return int(TokenType.BYTE)
        if word in (_UNKNOWN, data["model"].get("unk_token")):
            return int(TokenType.UNKNOWN)
    return int(TokenType.NORMAL)


def _added(token: Mapping[str, Any], *, pieces: bool) -> tuple[str, int]:
    """A token that is found before anything is joined, and its kind."""
    from gguf import TokenType

    word = str(token["content"])
    if pieces and word == _UNKNOWN:
        return word, int(TokenType.UNKNOWN)
    if token.get("special"):
        return word, int(TokenType.CONTROL)
    # llama.cpp looks for it in the text as it comes.
    return word.replace(SPACE, " ") if pieces else word, int(TokenType.USER_DEFINED)


def _splitting(data: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a tokenizer.json splits text."""
    steps = steps_of(data.get("normalizer"), "normalizers")
    if any(step.get("type") != "NFC" for step in steps):
        raise _refused(f"llama.cpp does not change text as it does ({_types(steps)})")
    splits = steps_of(data.get("pre_tokenizer"), "pretokenizers")
    if not splits or splits[-1].get("type") != "ByteLevel" or splits[-1].get("add_prefix_space"):
        raise _refused(f"llama.cpp does not split text as it does ({_types(splits) or 'not at all'})")
    whole_first = bool(data["model"].get("ignore_merges"))
    name = _name_of(splits[:-1], whole_first, by_expression=bool(splits[-1].get("use_regex", True)))
    if name is None:
        raise _refused(f"llama.cpp does not split text as it does ({_types(splits)})")
    return name


def _name_of(first: list[dict[str, Any]], whole_first: bool, *, by_expression: bool) -> str | None:
    if by_expression:
        if whole_first or len(first) > 1:
            return None
        digits = bool(first) and first[0].get("type") == "Digits" and first[0].get("individual_digits")
        return "gpt-2" if not first else "smollm" if digits else None
    if len(first) != 1 or first[0].get("type") != "Split":
        return None
    # The expressions leave nothing out: taking what they find is splitting there.
    if (first[0].get("behavior"), bool(first[0].get("invert"))) not in _AT_MATCHES:
        return None
    pattern = first[0].get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, dict) else None
    return _by_expression().get((expression, whole_first))


@cache
def _by_expression() -> dict[tuple[Any, bool], str]:
    """By the expressions as the models' own tokenizer.json have them, and whether a word that is a token is
    taken before anything is merged."""
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+"
    rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    short = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
    upper, lower = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
    start = r"[^\r\n\p{L}\p{N}]?"
    tekken = (
        f"{start}[{upper}]*[{lower}]+|{start}[{upper}]+[{lower}]*|\\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    return {
        (f"{short}{words}|\\p{{N}}{{1,3}}{rest}", True): "llama-bpe",
        (f"{short}{words}|\\p{{N}}{{1,3}}{rest}", False): "dbrx",
        (f"{short}{words}|\\p{{N}}{rest}", False): "qwen2",
        (tekken, True): "tekken",
    }


def _types(steps: list[dict[str, Any]]) -> str:
    return ", ".join(str(step.get("type")) for step in steps)


def _refused(reason: str) -> EngineError:
    return EngineError(
        f"the tokenizer cannot be put into a GGUF file: {TOKENIZER_FILE}: {reason}",
        hint="Other methods keep the tokenizer's own files; convert this model with llama.cpp's own script.",
    )
