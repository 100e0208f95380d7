"""Vocabularies of SentencePiece in GGUF files: their scores, and which are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.gguf_file.pieces import BYTES, SPACE
from quantize_lib.gguf_file.vocabulary import read_vocabulary, vocabulary_refusal, write_vocabulary

METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": False}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
PREPEND = {"type": "Prepend", "prepend": SPACE}


def sequence(*steps: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps)}


def pieces(
    folder: Path, *, merges: Any = None, steps: Any = None, splits: Any = METASPACE, **more: Any
) -> Path:
    """A tokenizer.json of SentencePiece's: bytes, four letters, and what pairs of them make."""
    words = ["<unk>", "<s>", *sorted(BYTES), SPACE, "a", "b", "c", "ab", "bc", "abc", f"{SPACE}a", "dd"]
    made = [["a", "b"], [SPACE, "a"], ["b", "c"], ["a", "bc"], ["ab", "c"]] if merges is None else merges
    vocabulary = {word: number for number, word in enumerate(words)}
    model = {"type": "BPE", "byte_fallback": True, "vocab": vocabulary, "merges": made, **more}
    first = len(words)
    added = [
        {"id": 0, "content": "<unk>", "special": True, **ADDED},
        {"id": 1, "content": "<s>", "special": True, **ADDED},
        {"id": first, "content": f"{SPACE}{SPACE}", "special": False, **ADDED},
    ]
    data = {"normalizer": steps, "pre_tokenizer": splits, "model": model, "added_tokens": added}
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("steps", "splits", "space"), [
    (None, METASPACE, True),
    (None, {**METASPACE, "prepend_scheme": "first"}, True),
    (None, {**METASPACE, "prepend_scheme": "never"}, False),
    (sequence(PREPEND, REPLACE), None, True),
    (REPLACE, SPLIT, False),
])  # fmt: skip
def test_pieces_have_scores_by_the_order_of_their_pairs_and_kinds(
    steps: Any, splits: Any, space: bool, tmp_path: Path
) -> None:
    found = read_vocabulary(pieces(tmp_path, steps=steps, splits=splits), 270)
    assert (found.splitting, found.space_before) == ("default", space)
    scores = dict(zip(found.tokens, found.scores, strict=True))
    made = ("ab", f"{SPACE}a", "bc", "abc")
    assert [scores[piece] for piece in made] == [0, -1, -2, -3]
    assert {scores[word] for word in ("a", "dd", "<s>", "<0x00>")} == {-1e6}
    kinds = dict(zip(found.tokens, found.kinds, strict=True))
    # Unknown, control, byte, normal; user-defined as it stands in a text; unused.
    words = ("<unk>", "<s>", "<0x0A>", "abc", "  ", "[PAD269]")
    assert [kinds[word] for word in words] == [2, 3, 6, 1, 4, 5]
    assert vocabulary_refusal(tmp_path) is None


@pytest.mark.parametrize(("words", "reason"), [
    ({"merges": [["a", "b"], ["b", "c"], ["ab", "c"], [SPACE, "a"]]}, "lacks some that make a token"),
    (
        {"merges": [["a", "b"], ["b", "c"], ["a", "bc"], [SPACE, "a"], ["ab", "c"]]},
        "in an order that scores of tokens cannot say",
    ),
    ({"dropout": 0.1}, "not those of SentencePiece"),
    ({"splits": {**METASPACE, "split": True}}, "does not change text as it does (Metaspace)"),
    ({"splits": None}, "does not change text as it does (not at all)"),
    ({"steps": sequence({"type": "NFKC"}, REPLACE), "splits": None}, "(NFKC, Replace)"),
    ({"vocab": {"a": 0}}, "it has no token <0x00> for a byte"),
    ({"merges": 3}, "cannot be read"),
])  # fmt: skip
def test_pieces_that_llama_cpp_would_join_otherwise_are_refused(
    words: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    assert reason in str(vocabulary_refusal(pieces(tmp_path, **words)))


def test_a_vocabulary_of_pieces_is_written_with_what_llama_cpp_needs(tmp_path: Path) -> None:
    from gguf import GGUFReader, GGUFWriter

    folder = pieces(tmp_path)
    (folder / "tokenizer_config.json").write_text(
        '{"bos_token": "<s>", "unk_token": "<unk>"}', encoding="utf-8"
    )
    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    write_vocabulary(writer, folder, 268)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    fields = {name: field.contents() for name, field in GGUFReader(tmp_path / "x.gguf").fields.items()}
    told = {name.removeprefix("tokenizer.ggml."): value for name, value in fields.items()}
    assert {key: told[key] for key in ("model", "pre", "add_space_prefix", "add_bos_token")} == {
        "model": "llama", "pre": "default", "add_space_prefix": True, "add_bos_token": False,
    }  # fmt: skip
    assert (told["bos_token_id"], told["unknown_token_id"]) == (1, 0)
    assert "merges" not in told
    assert len(told["tokens"]) == len(told["scores"]) == len(told["token_type"]) == 268
