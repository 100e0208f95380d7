"""Loads one model folder and times it; run in a fresh process.

`python -m quantize_lib.benchmark.timing QUESTION.json ANSWER.json`, both files of `asking`. The answer is
written anew after everything that was measured, so that what came before an end stays.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.benchmark.machine import processor
from quantize_lib.benchmark.records import Answer, Case
from quantize_lib.devices import choose_device
from quantize_lib.environment import end_with_parent
from quantize_lib.errors import QuantizerError
from quantize_lib.evaluate.continuation import greedy
from quantize_lib.evaluate.opening import FaultyCheckpointError, open_checkpoint
from quantize_lib.files import read_json, write_json
from quantize_lib.formats import Format, format_of_config
from quantize_lib.process_memory import peak_memory, resident_bytes
from quantize_lib.tokenizer.loading import load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

_WARM_UP_TOKENS = 2
"""The first comes of reading the prompt, the second of the step that all further ones take."""


def main(arguments: list[str]) -> int:
    """Entry point; see the module."""
    end_with_parent()
    question_file, answer_file = map(Path, arguments)
    session = _Session(read_json(question_file), answer_file)
    try:
        session.measure()
    except FaultyCheckpointError as problem:
        session.say(error=str(problem))
    except QuantizerError as problem:
        session.say(error=problem.message)
    return 0


class _Session:
    """One loaded model, and what has been measured of it so far."""

    def __init__(self, question: dict[str, Any], answer_file: Path) -> None:
        self._question = question
        self._file = answer_file
        self._answer = Answer()
        self._device = ""
        self._model: Any = None
        self._prompts: list[list[int]] = []

    def say(self, **parts: Any) -> None:
        """Add to the answer."""
        self._answer = replace(self._answer, **parts)
        write_json(self._file, asdict(self._answer))

    def measure(self) -> None:
        """Load, then every case, shortest prompts first.

        Raises:
            FaultyCheckpointError: where it does not load.
            QuantizerError: where the device is missing, or the tokenizer does not load.
        """
        import torch

        asked = self._question
        torch.manual_seed(asked["seed"])
        self._device = choose_device(asked["device"]).type
        self.say(
            device=self._device,
            device_name=torch.cuda.get_device_name() if self._device == "cuda" else processor(),
            threads=torch.get_num_threads() if self._device == "cpu" else None,
        )
        self._load()
        with torch.inference_mode():
            for length in asked["prompt_lengths"]:
                for size in asked["batch_sizes"]:
                    case = Case(prompt_length=length, batch_size=size)
                    self._case(case)
        # Memory of a process that did not do everything is not compared with that of one that did.
        self.say(peak_memory_bytes=peak_memory(self._device))

    def _load(self) -> None:
        folder = Path(self._question["folder"])
        tokenizer = load_tokenizer(folder, trust_remote_code=False)
        self._prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in self._texts()]
        if not all(self._prompts):
            raise FaultyCheckpointError("its tokenizer makes no token of a prompt")
        quantization = read_json(folder / "config.json").get("quantization_config") or {}
        _import_libraries(format_of_config(quantization))
        before = self._memory()
        loaded = open_checkpoint(folder, device=self._device)
        self._model = loaded.model
        dtype = self._model.get_input_embeddings().weight.dtype
        self.say(
            loader=loaded.loader,
            dtype=str(dtype).removeprefix("torch."),
            load_seconds=loaded.seconds,
            memory_before_bytes=before,
        )

    def _texts(self) -> Sequence[str]:
        """The prompts in this process's order: each process begins where the one before it ended."""
        texts: Sequence[str] = self._question["prompts"]
        start = self._question["first_prompt"] % len(texts)
        return [*texts[start:], *texts[:start]]

    def _case(self, case: Case) -> None:
        asked = self._question
        before = self._answer.cases
        try:
            for number in range(asked["warm_ups"]):
                self._run(case, number, new_tokens=_WARM_UP_TOKENS)
            for number in range(asked["repeats"]):
                first, rate = self._run(case, number, new_tokens=asked["new_tokens"])
                case = replace(
                    case,
                    first_token_seconds=(*case.first_token_seconds, first),
                    tokens_per_second=(*case.tokens_per_second, rate),
                )
                self.say(cases=(*before, case))
        except Exception as error:  # noqa: BLE001 what does not fit raises what the library likes
            import traceback

            traceback.print_exc()
            said = str(error).strip().splitlines() or [type(error).__name__]
            self.say(cases=(*before, replace(case, error=said[0])))

    def _run(self, case: Case, number: int, *, new_tokens: int) -> tuple[float, float]:
        """Seconds to the first token, and tokens a second of the batch after it."""
        from transformers import StoppingCriteriaList

        ids = self._batch(case, number)
        clock = _clock(self._device)
        # No token ends a text here: everyone generates as many.
        settings = greedy(self._model, new_tokens, min_new_tokens=new_tokens, eos_token_id=None)
        self._model.generation_config = settings
        _synchronize(self._device)
        started = time.perf_counter()
        tokens = self._model.generate(
            input_ids=ids,
            attention_mask=ids.new_ones(ids.shape),
            generation_config=settings,
            stopping_criteria=StoppingCriteriaList([clock]),
        )
        made = tokens.shape[1] - ids.shape[1]
        if made != new_tokens or len(clock.times) != new_tokens:
            raise RuntimeError(f"it generated {made} tokens, not {new_tokens}")
        first, last = clock.times[0], clock.times[-1]
        return first - started, case.batch_size * (new_tokens - 1) / (last - first)

    def _batch(self, case: Case, number: int) -> Tensor:
        """The prompts of a case's run, the same for every checkpoint, cut or repeated to the length.

        Returns:
            Token ids, int64 (batch size, prompt length).
        """
        import torch

        first = number * case.batch_size
        prompts = (self._prompts[(first + row) % len(self._prompts)] for row in range(case.batch_size))
        rows = [list(islice(cycle(prompt), case.prompt_length)) for prompt in prompts]
        return torch.tensor(rows, dtype=torch.int64, device=self._device)

    def _memory(self) -> int:
        if self._device == "cuda":
            import torch

            return int(torch.cuda.memory_allocated())
        return resident_bytes()


def _import_libraries(chosen: Format | None) -> None:
    """Import what the loader needs, so that neither its time nor its memory counts as the checkpoint's."""
    for name in Format.requirements if chosen is None else chosen.requirements:
        # Loading says it better where one is missing.
        with suppress(ImportError):
            import_module(name.replace("-", "_"))


def _clock(device: str) -> Any:
    """A stopping criterion that stops nothing and notes when each token was there (`times`)."""
    import torch
    from transformers import StoppingCriteria

    class Clock(StoppingCriteria):
        def __init__(self) -> None:
            self.times: list[float] = []

        def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
            del scores
            _synchronize(device)
            self.times.append(time.perf_counter())
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return Clock()


def _synchronize(device: str) -> None:
    """Wait until what was given to a device is done."""
    if device != "cpu":
        import torch

        getattr(torch, device).synchronize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
