"""The words of `benchmark` and `chat`."""

from __future__ import annotations

import argparse
from pathlib import Path

from quantize_lib.cli.argument_types import DEVICES, positive

_HOTTEST = 10
"""A temperature above which everything is drawn alike."""


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """The words of `benchmark`."""
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a checkpoint or model folder, a run's output folder, or its report.json",
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="DIR",
        help="the base model that all are compared with; default: what report or checkpoint name",
    )
    parser.add_argument(
        "--prompts",
        "--prompts-file",
        type=Path,
        metavar="FILE",
        help="one prompt a line, or rows (.json, .jsonl, .csv); default: prompts that come with the package",
    )
    parser.add_argument(
        "--num-prompts",
        type=positive,
        metavar="N",
        help="how many of them are drawn; default: as many as are needed",
    )
    parser.add_argument(
        "--seed", type=_whole, default=0, metavar="N", help="of the prompts and their order; default: 0"
    )
    parser.add_argument(
        "--prompt-lengths",
        type=positive,
        nargs="+",
        default=(32, 128, 512),
        metavar="N",
        help="in tokens, to which prompts are cut or repeated; default: 32 128 512",
    )
    parser.add_argument(
        "--batch-sizes",
        type=positive,
        nargs="+",
        default=(1, 4),
        metavar="N",
        help="prompts that are continued at once; default: 1 4",
    )
    parser.add_argument(
        "--new-tokens",
        type=positive,
        default=32,
        metavar="N",
        help="generated for each prompt, neither more nor fewer; default: 32",
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=3,
        metavar="N",
        help="fresh processes for each checkpoint, in turns; default: 3",
    )
    parser.add_argument(
        "--repeats",
        type=positive,
        default=2,
        metavar="N",
        help="timed runs of each case in each process; default: 2",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where they run; default: auto")
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("benchmark"),
        metavar="DIR",
        help="where benchmark.json and benchmark.html are written; default: benchmark",
    )


def add_chat(parser: argparse.ArgumentParser) -> None:
    """The words of `chat`."""
    parser.add_argument("path", type=Path, metavar="PATH", help="the checkpoint's folder, or a base model's")
    parser.add_argument(
        "--system", metavar="TEXT", help="what the model is told before everything else; default: nothing"
    )
    parser.add_argument(
        "--max-new-tokens", type=positive, default=256, metavar="N", help="of an answer; default: 256"
    )
    parser.add_argument(
        "--temperature",
        type=_temperature,
        default=0.7,
        metavar="T",
        help="how freely tokens are drawn; 0 takes the likeliest each time; default: 0.7",
    )
    parser.add_argument("--seed", type=_whole, default=0, metavar="N", help="of what is drawn; default: 0")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where it runs; default: auto")


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _HOTTEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {_HOTTEST}")
    return value
