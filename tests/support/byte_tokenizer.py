"""A tokenizer whose every token is known by heart: the bytes of the text."""

from __future__ import annotations

EOS, BOS = 256, 257


class ByteTokenizer:
    """UTF-8 bytes, and a begin and an end token where asked for."""

    def __init__(self, *, bos: bool = False, eos: bool = True) -> None:
        self._front = [BOS] if bos else []
        self._eos = eos

    @property
    def eos_token_id(self) -> int | None:
        """The end token's id."""
        return EOS if self._eos else None

    @property
    def unk_token_id(self) -> int | None:
        """Every byte is known."""
        return None

    def __call__(
        self, text: list[str], *, add_special_tokens: bool, verbose: bool
    ) -> dict[str, list[list[int]]]:
        """As transformers' tokenizers are called."""
        del verbose
        front = self._front if add_special_tokens else []
        return {"input_ids": [[*front, *one.encode()] for one in text]}

    def convert_ids_to_tokens(self, ids: int) -> str:
        """A token as it is shown."""
        return {EOS: "</s>", BOS: "<s>"}.get(ids) or chr(ids)
