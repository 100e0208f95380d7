"""Loads one model folder and times it; run in a fresh process.

`python -m quantize_lib.benchmark.timing QUESTION.json ANSWER.json`, both files of `asking`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.benchmark.machine import processor
from quantize_lib.benchmark.session import Run, Session, clock
from quantize_lib.devices import choose_device
from quantize_lib.evaluate.continuation import greedy
from quantize_lib.evaluate.opening import open_checkpoint
from quantize_lib.files import read_json
from quantize_lib.formats import Format, format_of_config
from quantize_lib.process_memory import peak_memory, resident_bytes

if TYPE_CHECKING:
    from torch import Tensor


class _LoadedModel(Session):
    """A model in this process."""

    def __init__(self, question: dict[str, Any], answer_file: Path) -> None:
        super().__init__(question, answer_file)
        self._device = ""
        self._model: Any = None

    def measure(self) -> None:
        """See `Session`."""
        import torch

        torch.manual_seed(self.question["seed"])
        self._device = choose_device(self.question["device"]).type
        self.say(
            device=self._device,
            device_name=torch.cuda.get_device_name() if self._device == "cuda" else processor(),
            threads=torch.get_num_threads() if self._device == "cpu" else None,
        )
        self._load()
        with torch.inference_mode():
            self.measure_cases()
        # Memory of a process that did not do everything is not compared with that of one that did.
        self.say(peak_memory_bytes=peak_memory(self._device))

    def _load(self) -> None:
        folder = Path(self.question["folder"])
        self.read_prompts(folder)
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

    def generate(self, rows: list[list[int]], new_tokens: int) -> Run:
        """In one call, the likeliest token each time."""
        import torch
        from transformers import StoppingCriteriaList

        ids = torch.tensor(rows, dtype=torch.int64, device=self._device)
        noted = _noting_times(self._device)
        # No token ends a text here: everyone generates as many.
        settings = greedy(self._model, new_tokens, min_new_tokens=new_tokens, eos_token_id=None)
        self._model.generation_config = settings
        _synchronize(self._device)
        started = clock()
        tokens = self._model.generate(
            input_ids=ids,
            attention_mask=ids.new_ones(ids.shape),
            generation_config=settings,
            stopping_criteria=StoppingCriteriaList([noted]),
        )
        made = tokens.shape[1] - ids.shape[1]
        if made != new_tokens or len(noted.times) != new_tokens:
            raise RuntimeError(f"it generated {made} tokens, not {new_tokens}")
        arrivals = [(at, count) for count, at in enumerate(noted.times, start=1)]
        return Run(started=started, arrivals=[arrivals] * len(rows))

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


def _noting_times(device: str) -> Any:
    """A stopping criterion that stops nothing and notes when each token was there (`times`)."""
    import torch
    from transformers import StoppingCriteria

    class Noting(StoppingCriteria):
        def __init__(self) -> None:
            self.times: list[float] = []

        def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
            del scores
            _synchronize(device)
            self.times.append(clock())
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return Noting()


def _synchronize(device: str) -> None:
    """Wait until what was given to a device is done."""
    if device != "cpu":
        import torch

        getattr(torch, device).synchronize()


if __name__ == "__main__":
    sys.exit(_LoadedModel.main(sys.argv[1:]))
