"""Our own time, split, beside the least that the arithmetic takes on this machine.

    python benchmarks/speed.py --model DIR --calibration FILE --work DIR [--blocks N] [--peer compare.json]

Measures the best rate of matrix products of the model's own shapes, in float32 and as the pass multiplies
(docs/benchmarks.md); counts the products that calibration cannot do without (every linear layer's forward,
causal attention, one triangle of XᵀX); and runs passes from the start of calibration to the saved shards: a
GPTQ 4-bit cell alone, the same in float32 throughout, and six cells. Nothing is evaluated. With the result of
compare_gptqmodel.py as the peer it prints shares of the peer's time. Writes WORK/speed.json. Run it on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shutil
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402 - the line above finds them
from quantize_lib.calibration.texts import collect_texts
from quantize_lib.calibration.tokens import tokenize
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.engine import shared_pass, statistics
from quantize_lib.engine.methods import awq, gptq
from quantize_lib.engine.methods.registry import get_method
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import CarriedText
from quantize_lib.engine.precision import calibrating, calibration_arithmetic
from quantize_lib.engine.shared_pass import CellWork, SharedPass
from quantize_lib.run.pass_store import PassFolder
from quantize_lib.source import read_facts
from quantize_lib.source.families import get_family
from quantize_lib.source.groups import resolved_layers
from quantize_lib.types import MethodName, ModelSpec, Settings, TextSpec

Cell = tuple[MethodName, int]
ONE: tuple[Cell, ...] = (("gptq", 4),)
SIX: tuple[Cell, ...] = (
    ("gptq", 4),
    ("gptq", 3),
    ("gptq", 8),
    ("awq", 4),
    ("bitsandbytes", 4),
    ("bitsandbytes", 8),
)
REPEATS = 5


class Clock:
    """Seconds by phase; a phase inside another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[tuple[str, float]] = []

    def time(self, owner: Any, name: str, phase: str | Callable[..., str]) -> None:
        """Time a function of a module or class under a phase, or under what its arguments say."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._switch(push=phase if isinstance(phase, str) else phase(*args, **kwargs))
            try:
                return function(*args, **kwargs)
            finally:
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


def main() -> int:
    """Measure and print."""
    arguments = _arguments()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    bench = _Bench(arguments)
    clock = _clocked()
    arithmetic = calibration_arithmetic(torch.device("cpu"))
    rates = {"float32": bench.rate()}
    if arithmetic != "float32":
        with calibrating(torch.device("cpu")):
            rates[arithmetic] = bench.rate()
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {package: version(package) for package in ("torch", "transformers")},
        "blocks": len(bench.model),
        "tokens": [arguments.samples, arguments.sequence_length],
        "threads": torch.get_num_threads(),
        "gflops": {name: round(rate / 1e9) for name, rate in rates.items()},
        "limit_seconds": {name: round(bench.operations() / rate, 2) for name, rate in rates.items()},
        "passes": {},
    }
    for name, cells in (("one cell", ONE), ("six cells", SIX)):
        clock.seconds.clear()
        result["passes"][f"{name}, {arithmetic}"] = bench.run(cells, clock)
    if arithmetic != "float32":
        clock.seconds.clear()
        cast(Any, shared_pass).calibrating = contextlib.nullcontext
        result["passes"]["one cell, float32"] = bench.run(ONE, clock)
    if arguments.peer:
        rows = json.loads(arguments.peer.read_text(encoding="utf-8"))["rows"]
        result["peer"] = {name: row["seconds"] for name, row in rows.items() if "seconds" in row}
    (work / "speed.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _print(result)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--blocks", type=int, help="only the first so many blocks, for tuning")
    parser.add_argument("--peer", type=Path, help="compare.json of the whole model")
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--sequence-length", type=int, default=512)
    return parser.parse_args()


def _clocked() -> Clock:
    clock = Clock()
    clock.time(shared_pass.SharedPass, "_begin", "embedding")
    clock.time(StreamedModel, "load_block", "reading")
    clock.time(CarriedText, "forward", "forward")
    clock.time(statistics._Accumulator, "add", "statistics")
    clock.time(statistics._Accumulator, "finish", "statistics")
    clock.time(shared_pass, "find_folds", "folds")
    clock.time(shared_pass.SharedPass, "_quantize", lambda _self, cell, *_: f"rounding {cell.id}")
    clock.time(gptq, "pack_gptq", "packing")
    clock.time(awq, "pack_gemm", "packing")
    clock.time(shared_pass.SharedPass, "_write_block", "writing")
    clock.time(shared_pass.SharedPass, "_write_outside", "writing")
    clock.time(PassFolder, "commit", "keeping the state")
    return clock


class _Bench:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._folder: Path = arguments.model
        if arguments.blocks:
            self._folder = _first_blocks(arguments.model, arguments.blocks, arguments.work / "model")
        spec = ModelSpec(id=self._folder.name, name=self._folder.name, local=self._folder)
        self._facts = read_facts(spec, self._folder, revision="")
        blocks = get_family(self._facts.config).blocks
        self.model = StreamedModel(self._folder, self._facts, blocks=blocks, device=torch.device("cpu"))
        self._ids = self._tokens()

    def _tokens(self) -> torch.Tensor:
        samples, length = self._arguments.samples, self._arguments.sequence_length
        file = self._arguments.calibration.resolve()
        spec = TextSpec(files=(file,), samples=samples, sequence_length=length)
        tokenizer: Any = AutoTokenizer.from_pretrained(self._folder)
        texts = collect_texts(spec, token=None).texts
        return tokenize(
            texts, tokenizer, samples=samples, sequence_length=length, seed=spec.seed, allow_short=False
        ).ids

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

    def rate(self) -> float:
        """Best operations per second over the model's own shapes."""
        best = 0.0
        with torch.inference_mode():
            for rows, columns in {(layer.out_features, layer.in_features) for layer in self._facts.layers}:
                weight, x = torch.randn(rows, columns), torch.randn(2048, columns)
                second_moment = torch.empty(columns, columns)
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

    def run(self, chosen: tuple[Cell, ...], clock: Clock) -> dict[str, Any]:
        """One pass with these cells, into shards on disk."""
        folder = self._arguments.work / "pass"
        shutil.rmtree(folder, ignore_errors=True)
        settings = {
            f"{method}-{bits}bit": Settings(method=method, bits=bits, group_size=self._arguments.group_size)
            for method, bits in chosen
        }
        room = dict.fromkeys(settings, 7 * len(self._facts.tensors))
        reporter = PlainReporter(sys.stderr)
        start = time.perf_counter()
        store = PassFolder.new(
            folder, key="", keys=dict.fromkeys(settings, ""), room=room, device="cpu", reporter=reporter
        )
        works = [
            CellWork(
                id=cell_id,
                settings=own,
                method=get_method(own.method),
                layers={layer.name: (bits, size) for layer, bits, size in resolved_layers(self._facts, own)},
                sink=store.writers[cell_id],
            )
            for cell_id, own in settings.items()
        ]
        outcome = SharedPass(
            self.model,
            works,
            calibration=self._ids,
            evaluation=None,
            sample=0,
            reporter=reporter,
            store=store,
        ).run()
        for writer in store.writers.values():
            writer.finish()
        seconds = time.perf_counter() - start
        return {
            "seconds": round(seconds, 2),
            "cells": {cell_id: round(cell.seconds, 2) for cell_id, cell in outcome.cells.items()},
            "phases": {
                **{name: round(value, 2) for name, value in clock.seconds.items()},
                "rest": round(seconds - sum(clock.seconds.values()), 2),
            },
        }


def _first_blocks(model: Path, count: int, target: Path) -> Path:
    config = AutoConfig.from_pretrained(model, num_hidden_layers=count)
    AutoModelForCausalLM.from_pretrained(model, config=config, dtype="auto").save_pretrained(target)
    AutoTokenizer.from_pretrained(model).save_pretrained(target)
    return target


def _print(result: dict[str, Any]) -> None:
    for name, seconds in result["limit_seconds"].items():
        print(f"arithmetic limit, {name}: {seconds} s at {result['gflops'][name]} GFLOP/s")
    for name, found in result["passes"].items():
        print(f"\n{name}: {found['seconds']} s, {found['seconds'] / result['blocks']:.3f} s a block")
        for phase, seconds in found["phases"].items():
            print(f"  {phase:<32}{seconds:>9.2f} s{seconds / result['blocks'] * 1000:>9.0f} ms a block")
        for cell, seconds in found["cells"].items():
            print(f"  {cell:<32}{seconds:>9.2f} s in all")
        limits = {of: found["seconds"] / seconds for of, seconds in result["limit_seconds"].items()}
        print("  " + ", ".join(f"{ratio:.2f} × the {of} limit" for of, ratio in limits.items()))
        for peer, seconds in result.get("peer", {}).items():
            shares = {
                name: own / seconds for name, own in (("whole", found["seconds"]), *found["cells"].items())
            }
            print(
                f"  of {peer}, {seconds} s: " + ", ".join(f"{n} {share:.1%}" for n, share in shares.items())
            )


if __name__ == "__main__":
    sys.exit(main())
