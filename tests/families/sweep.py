"""Takes many types through the command, each in a process of its own."""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from quantize_lib.files import read_json, write_json
from tests.families import warm
from tests.families.one_type import Outcome, take_through
from tests.families.text import sentences, write_texts
from tests.support.gguf_families import USUAL
from tests.support.small_tokenizer import SPECIAL, save_tokenizer
from tests.support.tiny_models import RESERVED, save_tiny, tiny_types

DTYPES = ("bfloat16", "float16", "float32")
_SECONDS = 900.0
"""For one type."""
_SHARD_BYTES = 500_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is done with every type.

    Attributes:
        models: a folder with a model folder for each type; None where they are made here.
        cells: method and bits.
        dtype: of the models that are made; None for one of `DTYPES` by the type's name, as it is chosen which
            are in several shards, and which have head and embedding tied otherwise than usual.
        seed: of models and texts.
        sizes: config keys with other values than the small ones, in the models that are made.
    """

    models: Path | None
    cells: Sequence[tuple[str, int]]
    dtype: str | None
    seed: int
    sizes: Mapping[str, int]


def sweep(types: Sequence[str], work: Path, asked: Asked, *, processes: int) -> Iterator[list[Outcome]]:
    """The outcomes of each type, as they come.

    Args:
        types: all of them where there are none.
        work: an existing folder.
        processes: how many types at a time.
    """
    texts = write_texts(work, asked.seed)
    waiting = list(types) or _all(asked.models)
    running: dict[str, tuple[warm.Process, float]] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            name = waiting.pop(0)
            running[name] = (_start(name, work / name, texts, asked), time.monotonic())
        for name, (process, started) in list(running.items()):
            late = time.monotonic() - started > _SECONDS
            if process.poll() is None and not late:
                continue
            process.kill()
            del running[name]
            why = f"took longer than {_SECONDS:.0f} s" if late else ""
            yield _outcomes(name, work / name, asked.cells, why)
        time.sleep(0.02)


def _all(models: Path | None) -> list[str]:
    if models is None:
        return tiny_types()
    return sorted(path.parent.name for path in models.glob("*/config.json"))


def _start(name: str, work: Path, texts: tuple[Path, Path], asked: Asked) -> warm.Process:
    work.mkdir()

    def child() -> int:
        found = []
        for own, cells in _by_model(name, asked):
            place = work / "as-llama.cpp-takes-it" if own else work
            place.mkdir(exist_ok=True)
            model, form = _model(name, place, asked, own=own)
            outcomes = take_through(name, model, place, cells, texts)
            found += [replace(outcome, form=form) for outcome in outcomes]
        (work / "outcomes.bin").write_bytes(pickle.dumps(found))
        return 0

    with (work / "log.txt").open("wb") as log:
        return warm.fork(child, output=log.fileno(), errors=log.fileno())


def _by_model(name: str, asked: Asked) -> list[tuple[bool, list[tuple[str, int]]]]:
    """Whether cells are of a model as llama.cpp takes its type, and the cells; files of no other are made."""
    own = [cell for cell in asked.cells if cell[0] == "gguf" and name in USUAL and asked.models is None]
    rest = [cell for cell in asked.cells if cell not in own]
    return [(one, cells) for one, cells in ((False, rest), (True, own)) if cells]


def _model(name: str, work: Path, asked: Asked, *, own: bool) -> tuple[Path, str]:
    """The model's folder, and in which form it is there.

    Args:
        own: as `_by_model` has it.
    """
    if asked.models is not None:
        return asked.models / name, ""
    number = zlib.crc32(f"{name} {asked.seed}".encode())
    dtype = asked.dtype or DTYPES[number % len(DTYPES)]
    sharded = number // len(DTYPES) % 2 == 1
    # Which of them llama.cpp ties is fixed.
    tied = None if own else (None, True, False)[number // len(DTYPES) // 2 % 3]
    sizes, changes = USUAL[name] if own else ({}, {})
    folder = save_tiny(
        name,
        work / "model",
        seed=asked.seed,
        dtype=getattr(torch, dtype),
        shard_bytes=_SHARD_BYTES if sharded else None,
        tied=tied,
        sizes={**sizes, **asked.sizes},
    )
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **changes})
    reserved = [f"<reserved_{index}>" for index in range(len(SPECIAL), RESERVED)]
    save_tokenizer(folder, [sentences(400, asked.seed)], special=[*SPECIAL, *reserved])
    form = [dtype, *["sharded"] * sharded, *["tied" if tied else "untied"] * (tied is not None)]
    return folder, ", ".join(form)


def _outcomes(name: str, work: Path, cells: Sequence[tuple[str, int]], why: str) -> list[Outcome]:
    answer = work / "outcomes.bin"
    if answer.exists():
        found: list[Outcome] = pickle.loads(answer.read_bytes())
        return found
    last = (work / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    reason = why or f"the process that judges it broke: {''.join(last)[:200]}"
    return [
        Outcome(type=name, method=method, bits=bits, result="WRONG", reason=reason, figures={})
        for method, bits in cells
    ]
