"""What was said, what the model is given of it, and its answers as they come."""

from __future__ import annotations

import logging
import warnings
from typing import Any, TextIO

from quantize_lib.evaluate.continuation import greedy
from quantize_lib.evaluate.opening import FaultyCheckpointError, doing
from quantize_lib.text import printable

Message = dict[str, str]
"""`role` (`system`, `user` or `assistant`) and `content`, as chat templates take them."""


class TooLongError(Exception):
    """What is said does not fit into the model's positions."""


class Conversation:
    """A conversation with a loaded model.

    Args:
        model, tokenizer: of transformers; the model's `generation_config` is replaced.
        system: what the model is told before everything else; None for nothing.
        max_new_tokens: of an answer.
        temperature: 0 takes the likeliest token each time.
        seed: of what is drawn otherwise.
        positions: of the model; None where there is no end.

    Attributes:
        said: by the user and the model, in turns; what was forgotten is not in it.
        has_template: whether the tokenizer has a chat template; else texts are continued as they stand.

    Raises:
        FaultyCheckpointError: where its chat template fails, or the model cannot answer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        system: str | None,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        positions: int | None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._start: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self.said: list[Message] = []
        self._max_new_tokens = max_new_tokens
        self._seed = seed
        self._positions = positions
        self.has_template = tokenizer.chat_template is not None
        drawn = {"do_sample": True, "temperature": temperature} if temperature > 0 else {}
        settings = greedy(model, max_new_tokens, **drawn)
        ends = [*_listed(settings.eos_token_id), *_listed(tokenizer.eos_token_id)]
        settings.eos_token_id = list(dict.fromkeys(ends)) or None
        # generate() takes from the model's own settings what its argument leaves open.
        model.generation_config = self._settings = settings
        self.reset()
        self._try()

    def reset(self) -> None:
        """Forget what was said, and draw as at the beginning."""
        import torch

        self.said = []
        torch.manual_seed(self._seed)

    def answer(self, text: str, stream: TextIO) -> int:
        """Say something, and write the answer as it comes; Ctrl-C stops it, and what was written stays said.

        Returns:
            How many of the oldest messages were forgotten, because all together are too long.

        Raises:
            TooLongError: where what is said is too long by itself; then, and where a library raises something
                else, it counts as not said.
        """
        before = self.said
        self.said = [*before, {"role": "user", "content": text}]
        forgotten = 0
        while (ids := self.ids_of(self.said)).shape[1] > self._room():
            if len(self.said) == 1:
                self.said = before
                raise TooLongError(
                    f"That is {ids.shape[1]} tokens, and the model has room for {self._room():.0f}, as an "
                    f"answer may have {self._max_new_tokens}."
                )
            # A question and its answer.
            self.said = self.said[2:]
            forgotten += 2
        try:
            written = self._generate(ids, stream)
        except BaseException:
            self.said = before
            raise
        self.said = [*self.said, {"role": "assistant", "content": written}]
        return forgotten

    def _room(self) -> float:
        return float("inf") if self._positions is None else self._positions - self._max_new_tokens

    def _generate(self, ids: Any, stream: TextIO) -> str:
        from transformers import TextStreamer

        written: list[str] = []

        class Streamer(TextStreamer):
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                written.append(text)
                # What a model writes is not to steer the terminal.
                stream.write(printable(text) + ("\n" if stream_end else ""))
                stream.flush()

        streamer: Any = Streamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        try:
            self._model.generate(
                input_ids=ids,
                attention_mask=ids.new_ones(ids.shape),
                generation_config=self._settings,
                streamer=streamer,
            )
        except KeyboardInterrupt:
            streamer.end()
        return "".join(written)

    def ids_of(self, said: list[Message]) -> Any:
        """Token ids of everything that the model is given, int64 (1, length)."""
        messages = [*self._start, *said]
        if self.has_template:
            ids = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False, return_tensors="pt"
            )
        else:
            text = "\n".join(message["content"] for message in messages)
            ids = self._tokenizer(text, return_tensors="pt")["input_ids"]
        return ids.to(self._model.device)

    def _try(self) -> None:
        """Answer with two tokens: what fails does so at once, and what is set up once is set up."""
        # Libraries say at the first forward what they think of kernels and settings.
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        what = "its chat template does not take a system prompt" if self._start else "its chat template fails"
        with doing(what if self.has_template else "its tokenizer makes no tokens of a text"):
            ids = self.ids_of([{"role": "user", "content": "Hello"}])
        if ids.shape[1] == 0:
            raise FaultyCheckpointError("its tokenizer makes no token of a text")
        settings, mask = greedy(self._model, 2), ids.new_ones(ids.shape)
        with doing("it cannot answer"):
            self._model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)


def _listed(token: Any) -> list[int]:
    return [one for one in (token if isinstance(token, list) else [token]) if isinstance(one, int)]
