"""The command line's words. `python entrypoint.py`, `model-quantizer` and the images share them."""

from __future__ import annotations

import argparse
import difflib
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from quantize_lib import __version__
from quantize_lib.cli.argument_types import DEVICES, positive, shard
from quantize_lib.cli.measuring_arguments import add_benchmark, add_chat, add_verify
from quantize_lib.formats import FORMATS
from quantize_lib.methods import AUTO_FORMAT, DEFAULT_METHOD, METHODS

COMMANDS = (
    *("validate", "plan", "calibrate", "run", "publish", "evaluate", "verify", "benchmark", "chat"),
    *("families", "job"),
)

_EPILOG = """\
exit codes: 0 all well; 1 a bug of ours; 2 the command line or the manifest is wrong; 3 at least one cell
failed; 4 at least one cell missed its gate; 5 publishing failed; 130 interrupted"""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. `command` is None for the form with a single model.

    A first word that is a command is one; a model folder of that name is written `./plan`.

    Raises:
        SystemExit: after --help and --version (0), or where the words are wrong (2).
    """
    first = next((word for word in arguments if not word.startswith("-")), None)
    if first is None or first in COMMANDS:
        return command_parser().parse_args(arguments)
    parser = single_model_parser()
    # `./plan` and `org/plan` are models, whether they exist or not.
    close = [] if "/" in first else difflib.get_close_matches(first, COMMANDS, n=1)
    if close and not Path(first).exists():
        parser.error(f"{first!r} is neither a command nor a model folder. Perhaps you meant `{close[0]}`?")
    return parser.parse_args(arguments)


def _parser(description: str, usage: str | None = None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="model-quantizer",
        usage=usage,
        description=description,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def command_parser() -> argparse.ArgumentParser:
    """Of the commands and their options."""
    parser = _parser(
        "Quantize Hugging Face models from one manifest, check them and publish them.",
        usage="model-quantizer COMMAND …  |  model-quantizer MODEL [--method METHOD] [--bits BITS] …",
    )
    parser.add_argument(
        "--version", action="store_true", help="print the versions of everything that matters"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    validate = _add(commands, "validate", "check a manifest; uses no network")
    _manifest(validate)

    plan = _add(commands, "plan", "show cells and jobs with estimates")
    _manifest(plan)
    plan.add_argument(
        "--format",
        choices=("table", "json", "github"),
        default="table",
        help="how the plan is written; default: table",
    )
    plan.add_argument(
        "--changed-only", action="store_true", help="leave out cells that are published unchanged"
    )
    plan.add_argument(
        "--shards",
        type=positive,
        metavar="N",
        help="split each model's calibration text over N jobs: their matrices for GitHub, or what they leave",
    )
    _force(plan)
    _only(plan)
    plan.add_argument(
        "--device", choices=DEVICES, default="auto", help="for entries without a device of their own"
    )

    calibrate = _add(commands, "calibrate", "make the statistics of a part of the calibration text")
    _manifest(calibrate)
    _only(calibrate)
    calibrate.add_argument(
        "--shard",
        type=shard,
        required=True,
        metavar="K/N",
        help="which of N parts of the text, as in 2/3; `run --statistics` adds up all of them",
    )
    _running(calibrate, output="statistics")

    run = _add(commands, "run", "quantize, check and publish")
    _manifest(run)
    _force(run)
    _only(run)
    _running(run, output="output")
    run.add_argument(
        "--statistics",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="what `calibrate` wrote of every shard, which is added up in place of calibrating (repeatable)",
    )
    run.add_argument(
        "--publish",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="publish cells that meet their gate; default: --publish",
    )
    run.add_argument(
        "--state",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep unfinished work in the manifest's state store, and go on from what is there; "
        "default: --state",
    )

    publish = _add(commands, "publish", "publish the checkpoints of an earlier run")
    publish.add_argument(
        "directory",
        type=Path,
        nargs="?",
        default=Path("output"),
        metavar="DIR",
        help="the run's output folder, with --rollback also its manifest; default: output",
    )
    publish.add_argument(
        "--rollback", metavar="CELL", help="put this cell's publication before the present one back instead"
    )
    publish.add_argument("--force", action="store_true", help="publish also what a rollback took back")

    evaluate = _add(commands, "evaluate", "reload a checkpoint and measure it")
    evaluate.add_argument("path", type=Path, metavar="PATH", help="the checkpoint's folder")
    evaluate.add_argument(
        "--text", type=Path, action="append", metavar="FILE", help="held-out text (repeatable)"
    )
    evaluate.add_argument("--samples", type=positive, default=10, help="sequences of text; default: 10")
    evaluate.add_argument("--sequence-length", type=positive, default=512, help="tokens each; default: 512")

    add_verify(_add(commands, "verify", "check that a published checkpoint is what its report says"))
    add_benchmark(_add(commands, "benchmark", "time checkpoints beside their base model"))
    add_chat(_add(commands, "chat", "talk to a checkpoint in the terminal"))

    families = _add(commands, "families", "show what would be quantized of a model, and what not and why")
    families.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="Hub id or model folder; its weights are not read. Without it: what came of every type",
    )

    job = _add(commands, "job", "run one job described by a JSON file (schemas/job.schema.json)")
    job.add_argument("job", type=Path, metavar="JOB.json", help="the job")
    job.add_argument("--events", action="store_true", help="print one JSON event per line, for programs")
    job.add_argument(
        "--answer", type=Path, metavar="FILE", help="answer a question about a tokenizer, for programs"
    )
    job.add_argument(
        "--test", type=Path, metavar="FILE", help="run a test command and answer how it ended, for programs"
    )
    return parser


def single_model_parser() -> argparse.ArgumentParser:
    """Of the form for one model without a manifest."""
    parser = _parser("Quantize one model into a folder.")
    parser.add_argument(
        "model", metavar="MODEL", help="Hub id or model folder (a folder named as a command: ./plan)"
    )
    parser.add_argument(
        "--method",
        choices=tuple(METHODS),
        default=DEFAULT_METHOD,
        help=f"how weights are rounded; default: {DEFAULT_METHOD}",
    )
    parser.add_argument("--bits", type=positive, default=8, help="of a weight; default: 8")
    parser.add_argument(
        "--format",
        choices=(AUTO_FORMAT, *FORMATS),
        default=AUTO_FORMAT,
        help="how rounded weights are stored; auto is the method's own; default: auto",
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="the checkpoint's folder; default: {model}-{method}-{bits}bit",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to quantize; default: auto")
    parser.add_argument(
        "--calibration-dataset",
        metavar="DATA",
        help="a text file, comma-separated texts, or a data set on the Hub; default: wikitext",
    )
    parser.add_argument(
        "--group-size",
        type=_group_size,
        help="a number, -1 for one group per row, or auto (default): the largest of 128, 64, 32, 16 to fit",
    )
    # None where not given: a setting that the method does not take is an error only where it is given.
    parser.add_argument(
        "--desc-act",
        action="store_true",
        default=None,
        help="columns in descending order of activation (GPTQ)",
    )
    parser.add_argument(
        "--sym", action=argparse.BooleanOptionalAction, help="symmetric (GPTQ); default: --sym"
    )
    parser.set_defaults(command=None, version=False)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )


def _manifest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="quantize.yml")


def _force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force", action="store_true", help="build every cell, whatever was built or published before"
    )


def _only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", action="append", default=[], metavar="CELL", help="this cell only (repeatable)"
    )


def _running(parser: argparse.ArgumentParser, *, output: str) -> None:
    """Where jobs run, what they may take, and where what they make goes."""
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="for entries without a device of their own"
    )
    parser.add_argument(
        "--executor",
        choices=("local", "docker"),
        default="local",
        help="where jobs run: here, or each in a container; default: local",
    )
    parser.add_argument("--image", help="for --executor docker; default: this release's own")
    parser.add_argument(
        "--memory",
        type=_size,
        metavar="SIZE",
        help="a container's limit, as in 8g; default: most of the machine's",
    )
    parser.add_argument(
        "--timeout",
        type=_duration,
        metavar="TIME",
        help="a container's limit, as in 90m; default: 24h",
    )
    parser.add_argument(
        "--max-memory",
        type=_size,
        metavar="SIZE",
        help="what quantizing may take of this machine's memory, as in 12g: activations are kept on disk "
        "where they do not fit; default: no limit",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(output),
        metavar="DIR",
        help=f"where everything is written; default: {output}",
    )


def _group_size(text: str) -> int | str:
    if text in ("auto", "-1"):
        return text if text == "auto" else -1
    return positive(text)


def _size(text: str) -> int:
    return _number_with(
        text,
        {
            "": 1,
            "k": 2**10,
            "m": 2**20,
            "g": 2**30,
        },
        "a size, as in 8g or 512m",
    )


def _duration(text: str) -> int:
    return _number_with(text, {"": 1, "s": 1, "m": 60, "h": 3600}, "a time, as in 90s, 30m or 6h")


def _number_with(text: str, units: Mapping[str, int], what: str) -> int:
    number = text.rstrip(string.ascii_letters)
    unit = text[len(number) :].lower()
    if unit not in units or not number.isascii() or not number.isdigit() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return int(number) * units[unit]


def short_version() -> str:
    """The tool's own version, as `--version` starts."""
    return f"model-quantizer {__version__}"
