"""Takes one model through the whole command with several methods, and says what came of each cell."""

from __future__ import annotations

import json
import pickle
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from quantize_lib.cli import main
from quantize_lib.errors import ExitCode
from quantize_lib.files import read_json
from tests.families import warm
from tests.families.base_model import Base, Logits, Wrong, loaded_logits
from tests.families.judge import judge

NAME = "tiny"
SLUGS = {
    "gptq": "gptq",
    "awq": "awq",
    "bitsandbytes": "bnb",
    "fp8": "fp8",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
    "gguf": "gguf",
}
TYPES = {"gguf": {4: "Q4_K_M"}}
"""Of methods that have types in place of bits: by the bits that they mean."""
NEVER_PARTIAL = ("gguf",)
SEQUENCE = 64
_ROWS = 8
_SAID = 300
_SHOWN = 400


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a cell.

    Attributes:
        result: `ok`, `partial` (the same with `allow_partial`, without which it is refused), `refused`
            (before anything was computed), or `WRONG`: everything else.
        reason: of a refusal and of what is wrong; the figures of what is good.
        form: of the base model's files.
    """

    type: str
    method: str
    bits: int
    result: str
    reason: str
    figures: Mapping[str, Any]
    form: str = ""

    @property
    def cell(self) -> str:
        """The method's slug and the bits."""
        return f"{SLUGS[self.method]}{self.bits}"

    @property
    def line(self) -> str:
        """For people."""
        form = f" ({self.form})" if self.form else ""
        reason = self.reason if len(self.reason) <= _SHOWN else f"{self.reason[:_SHOWN]}…"
        return f"{self.type:24} {self.cell:5}  {self.result:7}  {reason}{form}"


def take_through(
    name: str,
    model: Path,
    work: Path,
    cells: Sequence[tuple[str, int]],
    texts: tuple[Path, Path],
) -> list[Outcome]:
    """Run the command on a model and judge each of its cells; with `allow_partial` those that are refused.

    Args:
        name: of the type, for the outcomes.
        work: an existing empty folder.
        cells: method and bits.
        texts: JSON lines to calibrate with, and held-out ones.
    """
    outcomes = _run_and_judge(name, model, work / "all", cells, texts)
    reasons = {_without_paths(outcome) for outcome in outcomes.values()}
    if len(cells) > 1 and len(reasons) == 1 and next(iter(outcomes.values())).result == "WRONG":
        # A cell that takes its job with it takes the others, which may not be to blame.
        for number, cell in enumerate(cells):
            outcomes |= _run_and_judge(name, model, work / f"{cell[0]}-{cell[1]}", [cell], texts)
            if number and _without_paths(outcomes[cell]) in reasons:
                break
    refused = [cell for cell, outcome in outcomes.items() if outcome.result == "refused"]
    if refused := [cell for cell in refused if cell[0] not in NEVER_PARTIAL]:
        again = _run_and_judge(name, model, work / "partial", refused, texts, allow_partial=True)
        for cell, outcome in again.items():
            if outcome.result != "refused":
                result = "partial" if outcome.result == "ok" else outcome.result
                reason = f"with allow_partial: {outcome.reason}"
                outcomes[cell] = replace(outcome, result=result, reason=reason)
    return list(outcomes.values())


def _without_paths(outcome: Outcome) -> str:
    return re.sub(r"/\S+", "", outcome.reason)


def _run_and_judge(
    name: str,
    model: Path,
    work: Path,
    cells: Sequence[tuple[str, int]],
    texts: tuple[Path, Path],
    **more: Any,
) -> dict[tuple[str, int], Outcome]:
    work.mkdir()
    manifest = _write_manifest(work, model, cells, texts, more)
    warm.handed_over.clear()
    said, code = _command(["run", str(manifest), "--output", str(work / "output")], work / "run.txt")
    report_file = work / "output" / "report.json"
    records = {}
    if report_file.is_file():
        records = {record["id"]: record for record in read_json(report_file)["cells"]}
    base = None
    outcomes = {}
    for method, bits in cells:
        cell_id = f"{NAME}-{SLUGS[method]}-{TYPES.get(method, {}).get(bits, f'{bits}bit')}"
        result, reason, figures = "ok", "", {}
        try:
            record = records.get(cell_id)
            if "Traceback" in said or record is None:
                raise Wrong(f"exit code {code}: {_last(said)}")
            if record["status"] == "failed":
                result, reason = "refused", _refusal(record, code, work)
            elif record["status"] != "published":
                raise Wrong(f"it is {record['status']}: {record['error']}")
            else:
                with _library_errors("the judge"):
                    base = base or Base(model, _ids(model, texts[1]), work)
                    verdict = judge(base, work / "output" / cell_id, bits=bits, reload=_in_a_process)
                figures = asdict(verdict)
                against = "" if verdict.ratio is None else f", {verdict.ratio:.2f} of rounding to nearest's"
                reason = (
                    f"{verdict.format}: error {verdict.error:.4f}{against}; {verdict.layers} layers, "
                    f"{verdict.share:.0%} of the blocks"
                )
        except Wrong as error:
            result, reason = "WRONG", str(error)
        outcomes[method, bits] = Outcome(
            type=name, method=method, bits=bits, result=result, reason=reason, figures=figures
        )
    return outcomes


def _write_manifest(
    work: Path,
    model: Path,
    cells: Sequence[tuple[str, int]],
    texts: tuple[Path, Path],
    more: Mapping[str, Any],
) -> Path:
    calibration, held_out = map(str, texts)
    document = {
        "version": 1,
        "defaults": {"calibration": {"files": [calibration], "samples": 8, "sequence_length": SEQUENCE}},
        "models": [
            {
                "id": str(model),
                "name": NAME,
                "quantize": [{"method": method, **_width(method, bits), **more} for method, bits in cells],
            }
        ],
        "evaluate": {"perplexity": {"files": [held_out], "samples": 2, "sequence_length": SEQUENCE}},
        "publish": {"to": "directory", "path": "published"},
    }
    path = work / "quantize.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _width(method: str, bits: int) -> dict[str, Any]:
    return {"type": TYPES[method][bits]} if method in TYPES else {"bits": bits}


def _command(words: Sequence[str], output: Path) -> tuple[str, int]:
    """What the command said on both streams, and its exit code; in a process of its own, as it always is."""
    handed_over = output.with_suffix(".json")

    def work() -> int:
        try:
            return main(words)
        finally:
            handed_over.write_text(json.dumps(warm.handed_over), encoding="utf-8")

    with output.open("wb") as stream:
        code = warm.fork(work, output=stream.fileno(), errors=stream.fileno()).wait()
    warm.handed_over[:] = read_json(handed_over) if handed_over.exists() else []
    return output.read_text(encoding="utf-8", errors="replace"), code


def _refusal(record: Mapping[str, Any], code: int, work: Path) -> str:
    """Why a cell was refused.

    Raises:
        Wrong: where that was late, or is not said as it should be.
    """
    # What comes after the first line is advice.
    error = str(record["error"]).splitlines()[0]
    for prefix in (record["model"], record["id"]):
        error = error.removeprefix(f"{prefix}: ")
    if record["id"] in warm.handed_over:
        log = work / "output" / "log.txt"
        raise Wrong(f"failed late: {error}{_exception(log)}")
    if code != ExitCode.CELL_FAILED:
        raise Wrong(f"refused with exit code {code}: {error}")
    if (work / "output" / record["id"]).exists():
        raise Wrong(f"refused, and something is written: {error}")
    return error


def _exception(log: Path) -> str:
    """Where the log of the quantizing process has a traceback: its last place in our code."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    places = re.findall(r'File ".*/(quantize_lib/[^"]+)", line (\d+)', text)
    return f" [{places[-1][0]}:{places[-1][1]}]" if places else ""


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1][:_SAID] if lines else "nothing was said"


def _ids(model: Path, text: Path) -> Tensor:
    """Held-out text as token ids, (rows, length)."""
    from transformers import PreTrainedTokenizerFast

    documents = [json.loads(line)["text"] for line in text.read_text(encoding="utf-8").splitlines()]
    ids: list[int] = PreTrainedTokenizerFast.from_pretrained(model)("\n\n".join(documents))["input_ids"]
    rows = min(_ROWS, len(ids) // SEQUENCE)
    return torch.tensor(ids[: rows * SEQUENCE]).view(rows, SEQUENCE)


@contextmanager
def _library_errors(doing: str) -> Iterator[None]:
    """Makes of whatever libraries raise about a checkpoint that it is wrong."""
    try:
        yield
    except Wrong:
        raise
    except Exception as error:
        traceback.print_exc()
        said = " ".join(str(error).split())[:_SAID]
        raise Wrong(f"{doing} failed: {type(error).__name__}: {said}") from error


def _in_a_process(base: Base, folder: Path, dtype: str) -> Logits:
    """`loaded_logits` in a forked process."""
    answer, log = folder.parent / "logits.bin", folder.parent / "logits.txt"

    def work() -> int:
        found: object
        try:
            with _library_errors("its reload"):
                found = loaded_logits(base, folder, dtype)
        except Wrong as error:
            found = error
        answer.write_bytes(pickle.dumps(found))
        return 0

    with log.open("ab") as stream:
        code = warm.fork(work, output=stream.fileno(), errors=stream.fileno()).wait(timeout=300)
    if code != 0:
        raise Wrong(f"the process that loads it ended with {code}")
    result = pickle.loads(answer.read_bytes())
    answer.unlink()
    if isinstance(result, Wrong):
        raise result
    return result  # type: ignore[no-any-return]
