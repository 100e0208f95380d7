"""A real tokenizer of few tokens, trained on a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.tiny_models import VOCABULARY

SPECIAL = ("<pad>", "<s>", "</s>")


def save_tokenizer(folder: Path, texts: Iterable[str], *, special: Sequence[str] = SPECIAL) -> None:
    """Write a byte-level tokenizer beside a tiny model.

    Args:
        special: tokens that no text has, from id 0 on.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    ).save_pretrained(folder)
