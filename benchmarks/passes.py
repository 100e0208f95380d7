"""Passes of the engine in this process, timed by phases: what speed.py and gpu.py share."""

from __future__ import annotations

import functools
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch

from benchmarks.checkpoints import windows
from benchmarks.targets import SEVERAL
from quantize_lib.architecture.assignment import format_of
from quantize_lib.architecture.group_sizes import resolved_layers
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.engine import calibrator, cell_writer, lanes, precision, shared_pass, sums
from quantize_lib.engine.cell_work import CellWork
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import CarriedText
from quantize_lib.engine.shared_pass import SharedPass
from quantize_lib.methods import Settings, get_method
from quantize_lib.methods.common import EFFORT
from quantize_lib.sizing import LANES
from quantize_lib.source import read_facts
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.worker.pass_store import PassFolder

Cell = tuple[str, int]
REPEATS = 5


class Clock:
    """Seconds by phase; a phase inside another counts for itself alone, unless the outer one is whole.

    What another thread does meanwhile takes none of this one's time.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[tuple[str, float]] = []
        self._whole = False

    def time(self, owner: Any, name: str, phase: str | Callable[..., str], *, whole: bool = False) -> None:
        """Time a function of a module or class under a phase, or under what its arguments say.

        Args:
            whole: with everything that it calls.
        """
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._whole or threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            self._switch(push=phase if isinstance(phase, str) else phase(*args, **kwargs))
            self._whole = whole
            try:
                return function(*args, **kwargs)
            finally:
                self._whole = False
                self._switch()

        setattr(owner, name, timed)

    def _switch(self, push: str | None = None) -> None:
        now = time.perf_counter()
        if self._running:
            phase, since = self._running[-1]
            self.seconds[phase] = self.seconds.get(phase, 0.0) + now - since
        if push is None:
            self._running.pop()
            if self._running:
                self._running[-1] = (self._running[-1][0], now)
        else:
            self._running.append((push, now))


def clocked() -> Clock:
    """A clock on the engine's parts, from now on."""
    clock = Clock()
    clock.time(shared_pass.SharedPass, "_begin", "embedding")
    clock.time(StreamedModel, "load_block", "reading")
    clock.time(CarriedText, "forward", "forward")
    clock.time(sums.Accumulator, "add", "statistics")
    clock.time(sums.Accumulator, "finish", "statistics")
    clock.time(calibrator, "find_folds", "folds", whole=True)
    clock.time(lanes.Lanes, "run", SEVERAL)
    clock.time(shared_pass.SharedPass, "_quantize", lambda _self, _name, cell, *_: f"rounding {cell.id}")
    clock.time(cell_writer, "pack_block", "packing")
    clock.time(cell_writer.CellWriter, "part", "writing")
    clock.time(cell_writer.CellWriter, "rest", "writing")
    clock.time(shared_pass.SharedPass, "_write_outside", "writing")
    clock.time(PassFolder, "commit", "keeping the state")
    return clock


def in_float32() -> AbstractContextManager[object]:
    """Inside this context passes multiply in float32, as on a CPU without units for bfloat16."""
    return patch.object(precision, "_has_bfloat16_units", lambda: False)


class Bench:
    """A model and its calibration tokens, ready for passes.

    Args:
        model: its folder.
        calibration: a file of text.
        work: a folder for what a pass writes.
    """

    def __init__(
        self,
        model: Path,
        calibration: Path,
        work: Path,
        *,
        samples: int,
        sequence_length: int,
        device: str = "cpu",
    ) -> None:
        self._work, self._device = work, device
        self._facts = read_facts(ModelSpec(id=model.name, name=model.name, local=model), model, revision="")
        self.model = StreamedModel(model, self._facts, device=torch.device(device))
        batch = windows(
            model, calibration, samples=samples, sequence_length=sequence_length, allow_short=False
        )
        self._ids: torch.Tensor = batch.ids

    def operations(self) -> float:
        """Floating-point operations that the calibration of this model cannot do without."""
        config = self.model.config
        tokens, length = self._ids.numel(), self._ids.shape[1]
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        # Scores and weighted values: two products of tokens × length × width, of which half is masked.
        total = len(self.model) * 2 * tokens * length * config.num_attention_heads * head
        for layer in self._facts.layers:
            total += 2 * tokens * layer.out_features * layer.in_features
        for width in self._inputs():
            total += tokens * width * (width + 1)
        return float(total)

    def _inputs(self) -> list[int]:
        """The widths of distinct inputs: layers that share one have one XᵀX."""
        block = self.model.load_block(0)
        found: list[tuple[torch.Tensor, int]] = []

        def look(_module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            if not any(tensor is args[0] for tensor, _ in found):
                found.append((args[0], args[0].shape[-1]))

        for module in block.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(look)
        with torch.inference_mode(), self.model.outer():
            states, calls = self.model.embed(self._ids[:1, :8])
            calls[0](block, states)
        return [width for _, width in found] * len(self.model)

    def rate(self, dtype: torch.dtype) -> float:
        """Best operations per second over the model's own shapes, with factors of this dtype."""
        best = 0.0
        with torch.inference_mode():
            for rows, columns in {(layer.out_features, layer.in_features) for layer in self._facts.layers}:
                weight, x = (torch.randn(count, columns, dtype=dtype) for count in (rows, 2048))
                second_moment = torch.empty(columns, columns, dtype=dtype)
                products = (
                    (2 * x.numel() * rows, functools.partial(torch.nn.functional.linear, x, weight)),
                    (2 * x.numel() * columns, functools.partial(torch.mm, x.T, x, out=second_moment)),
                )
                for operations, product in products:
                    product()
                    for _ in range(REPEATS):
                        start = time.perf_counter()
                        product()
                        best = max(best, operations / (time.perf_counter() - start))
        return best

    def run(
        self,
        chosen: Sequence[Cell],
        *,
        group_size: int | Literal["auto"],
        clock: Clock,
        ahead: bool,
        effort: str | None = None,
    ) -> dict[str, Any]:
        """One pass with these cells, from the start of calibration to their shards on disk.

        Args:
            chosen: methods and bits.
            clock: what it holds is forgotten first.
            ahead: calibrate each block while the one before is quantized, by several cells at a time: as jobs
                do where blocks are small.
            effort: of all of them; None for each method's default.
        """
        folder = self._work / "pass"
        shutil.rmtree(folder, ignore_errors=True)
        clock.seconds.clear()
        own = {} if effort is None else {EFFORT.name: effort}
        settings = {
            f"{method}-{bits}bit": Settings(method=method, bits=bits, group_size=group_size, own=own)
            for method, bits in chosen
        }
        room = dict.fromkeys(settings, 7 * len(self._facts.tensors))
        reporter = PlainReporter(sys.stderr)
        start = time.perf_counter()
        store = PassFolder.new(
            folder,
            key="",
            keys=dict.fromkeys(settings, ""),
            room=room,
            device=self._device,
            reporter=reporter,
        )
        works = [
            CellWork(
                id=cell_id,
                settings=cell,
                method=get_method(cell.method),
                format=format_of(self._facts, cell),
                layers={layer.name: (bits, size) for layer, bits, size in resolved_layers(self._facts, cell)},
                sink=store.writers[cell_id],
            )
            for cell_id, cell in settings.items()
        ]
        outcome = SharedPass(
            self.model,
            works,
            calibration=self._ids,
            evaluation=None,
            sample=0,
            reporter=reporter,
            store=store,
            ahead=ahead,
            lanes=LANES if ahead else 1,
        ).run()
        for writer in store.writers.values():
            writer.finish()
        seconds = time.perf_counter() - start
        # Only AWQ needs the folds, though the pass looks for them outside of its cell.
        folds = {"awq-4bit": clock.seconds.get("folds", 0.0)}
        return {
            "seconds": round(seconds, 2),
            "cells": {
                cell_id: round(cell.seconds + folds.get(cell_id, 0.0), 2)
                for cell_id, cell in outcome.cells.items()
            },
            "phases": {
                **{name: round(value, 2) for name, value in clock.seconds.items()},
                "rest": round(seconds - sum(clock.seconds.values()), 2),
            },
        }
