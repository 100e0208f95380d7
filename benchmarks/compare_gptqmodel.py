"""Model Quantizer beside GPTQModel: the same model, calibration tokens and settings, one after the other.

    python -m benchmarks.compare_gptqmodel --model DIR --calibration FILE --held-out FILE ... --work DIR

Each side runs in a process of its own, GPTQModel once for each --peer-dtype. All checkpoints are then read by
one function that knows nothing of either (packed tensors to float32 weights, no kernel in between), and
measured on the same tokens. Our side makes all of its checkpoints in one pass: every effort, one of 8 bits,
to be compared with the base model, and where 4 bits are asked for AWQ's, too. Half an hour on 2 cores for
64 × 512 tokens; AutoRound (`--auto-round`) and llm-compressor (`--llm-compressor`) take hours more. With
`--blocks` each quantizes the first blocks alone, and is measured in the whole model, whose other blocks stay
in full precision.

Prints a table and writes WORK/compare.json, which benchmarks/speed.py takes as its peer: `seconds` is the
time from the start of calibration to the saved checkpoint there, without imports and loading. Ours is not
timed here (two cells, reloads and checks): that is what speed.py is for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import fill, first_blocks, quantize, windows
from benchmarks.comparison import (
    circumstances,
    comparison_parser,
    measure_rows,
    peer_row,
    quantize_with_gptqmodel,
)
from benchmarks.outside import outside_row
from benchmarks.targets import OURS
from quantize_lib.methods.common import EFFORT

MODULE = "benchmarks.compare_gptqmodel"
_AWQ_BITS = 4
"""The only width of AWQ's format."""
_DTYPES = ("float32", "bfloat16")


def main() -> int:
    """Run both sides, measure and print; or, with --child, one part of that."""
    arguments = _arguments()
    work: Path = arguments.work
    if arguments.child == "measure":
        return _measure(arguments)
    if arguments.child:
        return _quantize_with_gptqmodel(arguments, arguments.child)
    for folder in (work, _kept(arguments)):
        folder.mkdir(parents=True, exist_ok=True)
    model = _quantized(arguments)
    if arguments.blocks:
        first_blocks(arguments.model, arguments.blocks, model)
    plain = {"method": "gptq", "group_size": arguments.group_size}
    # The default effort is in the first entry.
    others = [effort for effort in EFFORT.words["enum"] if effort != EFFORT.default]
    report = quantize(
        work,
        model,
        [
            {**plain, "bits": sorted({arguments.bits, 8})},
            *({**plain, "bits": arguments.bits, "effort": effort, "name": effort} for effort in others),
            *([{**plain, "method": "awq", "bits": _AWQ_BITS}] if arguments.bits == _AWQ_BITS else []),
        ],
        calibration=arguments.calibration,
        samples=arguments.samples,
        sequence_length=arguments.sequence_length,
    )
    rows: dict[str, dict[str, Any]] = {}
    folders: list[Path] = []
    for cell in report["cells"]:
        effort = f", effort {cell['id']}" if cell["id"] in others else ""
        method = "AWQ, " if cell["method"] == "awq" else ""
        rows[f"{OURS}, {method}{cell['bits']} bits{effort}"] = {"settings": cell["settings"]}
        folders.append(work / "ours" / cell["path"])
    for dtype in arguments.peer_dtype:
        name = f"GPTQModel in {dtype}, {arguments.bits} bits"
        rows[name] = peer_row(MODULE, work, dtype, report, python=arguments.gptqmodel)
        folders.append(work / dtype)
    for name, script, python, options in _outside(arguments):
        rows[name], folder = outside_row(
            python,
            script,
            _kept(arguments),
            name.replace(" ", "-"),
            model=model,
            ids=_ids(arguments),
            options={**options, "group-size": arguments.group_size},
        )
        folders.append(folder)
    measured = measure_rows(MODULE, work, rows, folders)
    result = {
        **circumstances(arguments),
        "bits": arguments.bits,
        "blocks": arguments.blocks,
        "rows": {"base": measured["base"], **rows},
    }
    (work / "compare.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _print(result, [path.name for path in arguments.held_out])
    return 0


def _arguments() -> argparse.Namespace:
    parser = comparison_parser(__doc__, _DTYPES, samples=64, evaluate_samples=40)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--blocks", type=int, help="quantize the first blocks alone; all where not given")
    parser.add_argument(
        "--peer-dtype",
        choices=_DTYPES,
        nargs="+",
        default=["float32"],
        help="what GPTQModel computes in; bfloat16 is faster on a CPU with units for it, else much slower",
    )
    parser.add_argument(
        "--gptqmodel",
        type=Path,
        metavar="PYTHON",
        help="the Python of an environment like this one with another GPTQModel, which is taken instead",
    )
    parser.add_argument(
        "--auto-round",
        type=Path,
        metavar="PYTHON",
        help="the Python of an environment with AutoRound, which is compared with, too",
    )
    parser.add_argument("--auto-round-iterations", type=int, nargs="+", default=[50, 200])
    parser.add_argument(
        "--llm-compressor",
        type=Path,
        metavar="PYTHON",
        help="the same, of an environment with llm-compressor (4 bits)",
    )
    parser.add_argument(
        "--kept",
        type=Path,
        metavar="DIR",
        help="where what AutoRound and llm-compressor made is kept, and taken from; default: WORK",
    )
    return parser.parse_args()


def _kept(arguments: argparse.Namespace) -> Path:
    folder: Path = arguments.kept or arguments.work
    return folder


def _quantized(arguments: argparse.Namespace) -> Path:
    """The folder of what is quantized: the model, or its first blocks, beside what others made of these."""
    folder: Path = arguments.model
    return _kept(arguments) / f"first-{arguments.blocks}" if arguments.blocks else folder


def _outside(arguments: argparse.Namespace) -> Iterator[tuple[str, str, Path, dict[str, Any]]]:
    """Quantizers with an environment of their own: name, script, that environment's Python, options."""
    if arguments.auto_round:
        for iterations in arguments.auto_round_iterations:
            options = {"bits": arguments.bits, "iterations": iterations}
            name = f"AutoRound, {iterations} iterations, {arguments.bits} bits"
            yield name, "peer_auto_round", arguments.auto_round, options
    if arguments.llm_compressor:
        yield "llm-compressor, AWQ and GPTQ, 4 bits", "peer_llm_compressor", arguments.llm_compressor, {}


def _ids(arguments: argparse.Namespace) -> Path:
    """The calibration's token ids, a list of sequences in JSON."""
    path: Path = _kept(arguments) / "ids.json"
    rows = _tokens(arguments, arguments.calibration, arguments.samples).ids.tolist()
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def _tokens(arguments: argparse.Namespace, path: Path, samples: int) -> Any:
    return windows(arguments.model, path, samples=samples, sequence_length=arguments.sequence_length)


def _quantize_with_gptqmodel(arguments: argparse.Namespace, dtype: str) -> int:
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig, __version__

    batch = _tokens(arguments, arguments.calibration, arguments.samples)
    settings = {"bits": arguments.bits, "group_size": arguments.group_size, "sym": True, "desc_act": False}
    config = QuantizeConfig(**settings)
    model = GPTQModel.load(str(_quantized(arguments)), config, dtype=getattr(torch, dtype), device="cpu")
    seconds = quantize_with_gptqmodel(model, batch.ids, arguments.work / dtype)
    found = {
        **settings,
        "dtype": dtype,
        "act_group_aware": config.act_group_aware,
        "damp_percent": config.damp_percent,
        "batch_size": 1,
        "threads": torch.get_num_threads(),
        "version": __version__,
    }
    made = {"tokens_digest": batch.digest, "settings": found, "seconds": round(seconds, 1)}
    (arguments.work / f"{dtype}.json").write_text(json.dumps(made), encoding="utf-8")
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    """Every metric of base and checkpoints, on every held-out text."""
    import torch
    from transformers import AutoModelForCausalLM

    from quantize_lib.logits import Predictions
    from quantize_lib.metrics import MEANS

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()

    base, quantized = load(), [load() for _ in arguments.checkpoint]
    for model, folder in zip(quantized, arguments.checkpoint, strict=True):
        fill(model, folder, blocks=arguments.blocks)
    found: dict[str, Any] = {"base": {}, "quantized": [{} for _ in quantized]}
    for path in arguments.held_out:
        ids = _tokens(arguments, path, arguments.evaluate_samples).ids
        # Of the base model, then of each checkpoint.
        values: list[dict[str, list[Any]]] = [{} for _ in (base, *quantized)]
        with torch.inference_mode():
            for row in ids.split(1):
                before = Predictions(base(row, use_cache=False).logits)
                for index, model in enumerate((base, *quantized)):
                    after = before if model is base else Predictions(model(row, use_cache=False).logits)
                    for metric in MEANS.values():
                        if model is not base or not metric.compares:
                            one = metric.per_token(after, before, row)
                            values[index].setdefault(metric.name, []).append(one)
        measured = [_figures(gathered) for gathered in values]
        found["base"][path.name] = {**measured[0], "tokens": ids.numel()}
        for figures, own in zip(found["quantized"], measured[1:], strict=True):
            figures[path.name] = own
    (arguments.work / "measured.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


def _figures(values: dict[str, list[Any]]) -> dict[str, float | None]:
    """Each metric's figure and, as NAME_error, its standard error over the sequences.

    Args:
        values: per token, by the metric's name and by sequence.
    """
    import torch

    from quantize_lib.metrics import MEANS

    found: dict[str, float | None] = {}
    for name, parts in values.items():
        figure = MEANS[name].measured(torch.cat(parts))
        found |= {name: figure.after, f"{name}_error": figure.standard_error}
    return found


def _print(result: dict[str, Any], texts: list[str]) -> None:
    print(json.dumps(result, indent=2))
    print()
    head = "".join(f"{f'perplexity {text}':>32}{'KL':>10}" for text in texts)
    print(f"{'':<40}{'seconds':>10}{head}")
    for name, row in result["rows"].items():
        cells = "".join(
            f"{row[text]['perplexity']:>32.3f}{row[text].get('kl_divergence', 0.0):>10.4f}" for text in texts
        )
        print(f"{name:<40}{row.get('seconds', ''):>10}{cells}")


if __name__ == "__main__":
    sys.exit(main())
