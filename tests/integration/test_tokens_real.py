"""Token windows from real text with real tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import collect_texts
from quantize_lib.calibration.tokens import tokenize


def test_real_news_gives_the_demos_sequences_and_they_decode_to_it(
    real_model: Path, calibration_text: Path
) -> None:
    texts = collect_texts(TextSpec(files=(calibration_text,), samples=64), token=None)
    tokenizer = AutoTokenizer.from_pretrained(real_model)
    batch = tokenize(texts.texts, tokenizer, samples=64, sequence_length=512, seed=0, allow_short=False)
    assert tuple(batch.ids.shape) == (64, 512)
    assert not batch.short
    whole = "".join(text + tokenizer.eos_token for text in texts.texts)
    # A window may begin or end inside a character.
    assert all(str(tokenizer.decode(row)).strip("\ufffd") in whole for row in batch.ids.tolist())


@pytest.mark.parametrize("begins", [True, False])
def test_windows_begin_as_a_real_tokenizer_begins_a_text(begins: bool) -> None:
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4}, unk_token="<s>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if begins:
        words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    batch = tokenize(["a b c", "b"], tokenizer, samples=9, sequence_length=3, seed=0, allow_short=False)
    expected = [[0, 2, 3], [0, 4, 1], [0, 3, 1]] if begins else [[2, 3, 4], [1, 3, 1]]
    assert batch.ids.tolist() == expected
