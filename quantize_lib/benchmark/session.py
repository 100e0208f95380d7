"""What is measured in a fresh process, whatever generates the tokens."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from quantize_lib.benchmark.records import Answer, Case
from quantize_lib.environment import end_with_parent
from quantize_lib.errors import QuantizerError
from quantize_lib.evaluate.opening import FaultyCheckpointError
from quantize_lib.files import read_json, write_json
from quantize_lib.tokenizer.loading import load_tokenizer

_WARM_UP_TOKENS = 2
"""The first comes of reading the prompt, the second of the step that all further ones take."""

clock = time.perf_counter
"""Seconds, of which all times here are."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One batch, continued.

    Attributes:
        started: when the prompts were handed over.
        arrivals: for each prompt, when tokens were there, and how many of them by then; in their order.
    """

    started: float
    arrivals: Sequence[Sequence[tuple[float, int]]]

    def figures(self) -> tuple[float, float]:
        """Seconds to the first token of every prompt, and tokens a second of the batch after it.

        Raises:
            RuntimeError: where no time passed after it.
        """
        first = max(times[0][0] for times in self.arrivals)
        last = max(times[-1][0] for times in self.arrivals)
        if last <= first:
            raise RuntimeError("all tokens came at once: there is no speed to tell")
        before = sum(max(count for at, count in times if at <= first) for times in self.arrivals)
        made = sum(times[-1][1] for times in self.arrivals)
        return first - self.started, (made - before) / (last - first)


class Session(ABC):
    """One loaded model, and what has been measured of it so far.

    The answer is written anew after everything that was measured, so that what came before an end stays.
    """

    def __init__(self, question: dict[str, Any], answer_file: Path) -> None:
        self.question = question
        self.answer = Answer()
        self._file = answer_file
        self._prompts: list[list[int]] = []

    def say(self, **parts: Any) -> None:
        """Add to the answer."""
        self.answer = replace(self.answer, **parts)
        write_json(self._file, asdict(self.answer))

    @classmethod
    def main(cls, arguments: list[str]) -> int:
        """Measure what a file asks, as the entry point of a process.

        Args:
            arguments: the files of question and answer; see `asking`.
        """
        end_with_parent()
        question_file, answer_file = map(Path, arguments)
        session = cls(read_json(question_file), answer_file)
        try:
            session.measure()
        except FaultyCheckpointError as problem:
            session.say(error=str(problem))
        except QuantizerError as problem:
            session.say(error=problem.message)
        return 0

    @abstractmethod
    def measure(self) -> None:
        """Make ready what generates, and measure every case.

        Raises:
            FaultyCheckpointError: where it does not load, or the tokenizer makes no token of a prompt.
            QuantizerError: where the device is missing, or the tokenizer does not load.
        """

    @abstractmethod
    def generate(self, rows: list[list[int]], new_tokens: int) -> Run:
        """Continue prompts, all at once.

        Args:
            rows: token ids (batch size, prompt length).
            new_tokens: of each, neither more nor fewer.
        """

    def read_prompts(self, folder: Path) -> None:
        """Make tokens of the prompts, in this process's order: each begins where the one before it ended.

        Args:
            folder: of the model.

        Raises:
            FaultyCheckpointError: where the tokenizer makes none.
            QuantizerError: where it does not load.
        """
        tokenizer = load_tokenizer(folder, trust_remote_code=False)
        texts: Sequence[str] = self.question["prompts"]
        start = self.question["first_prompt"] % len(texts)
        ordered = [*texts[start:], *texts[:start]]
        self._prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ordered]
        if not all(self._prompts):
            raise FaultyCheckpointError("its tokenizer makes no token of a prompt")

    def measure_cases(self) -> None:
        """Every case, shortest prompts first."""
        for length in self.question["prompt_lengths"]:
            for size in self.question["batch_sizes"]:
                self._case(Case(prompt_length=length, batch_size=size))

    def _case(self, case: Case) -> None:
        asked = self.question
        before = self.answer.cases
        try:
            for number in range(asked["warm_ups"]):
                self.generate(self._rows(case, number), _WARM_UP_TOKENS)
            for number in range(asked["repeats"]):
                first, rate = self.generate(self._rows(case, number), asked["new_tokens"]).figures()
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

    def _rows(self, case: Case, number: int) -> list[list[int]]:
        """The prompts of a case's run, the same for every checkpoint, cut or repeated to the length."""
        first = number * case.batch_size
        prompts = (self._prompts[(first + row) % len(self._prompts)] for row in range(case.batch_size))
        return [list(islice(cycle(prompt), case.prompt_length)) for prompt in prompts]
