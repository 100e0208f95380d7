"""The words of `verify`, `benchmark` and `chat`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from quantize_lib.benchmark.servers import SERVERS
from quantize_lib.benchmark.through import THROUGH
from quantize_lib.cli.argument_types import DEVICES, positive

_GITHUB_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9._-]+")
_HOTTEST = 10
"""A temperature above which everything is drawn alike."""


def add_verify(parser: argparse.ArgumentParser) -> None:
    """The words of `verify`."""
    parser.add_argument(
        "place", metavar="REPO_OR_DIR", help="a checkpoint's folder, or NAMESPACE/NAME on the Hub"
    )
    parser.add_argument(
        "--revision", metavar="REVISION", help="a branch, tag or commit on the Hub; default: main"
    )
    parser.add_argument(
        "--signed-by",
        type=_github_repository,
        metavar="OWNER/NAME",
        help="fail unless a workflow of this GitHub repository signed it; default: a signature is checked "
        "if there is one",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="load it and measure the first sequences of its held-out text again",
    )
    parser.add_argument(
        "--text",
        type=Path,
        action="append",
        metavar="FILE",
        help="that text, where it was in files (repeatable); default: the data set that the report names",
    )


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
    parser.add_argument(
        "--through",
        choices=THROUGH,
        nargs="+",
        metavar="WAY",
        help=f"what measures: {', '.join(THROUGH)}; default: the loader that each card names, and every "
        "server that is installed and reads the format",
    )
    parser.add_argument(
        "--server",
        type=_program,
        action="append",
        default=[],
        metavar="NAME=PROGRAM",
        help="a server's program that is not on the PATH, as in vllm=/opt/vllm/bin/vllm (repeatable)",
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


def _github_repository(text: str) -> str:
    if not _GITHUB_REPOSITORY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a repository on GitHub, as in acme/models")
    return text


def _program(text: str) -> tuple[str, Path]:
    name, _, program = text.partition("=")
    if name not in SERVERS or not program:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=PROGRAM with one of these names: {', '.join(SERVERS)}"
        )
    return name, Path(program)


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
