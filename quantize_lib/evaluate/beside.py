"""Measures another build of a base model beside the base itself; in a fresh process.

`python -m quantize_lib.evaluate.beside SPEC.json RESULT.json`, both files of `measure_build`. Where the build
cannot be loaded or read, that stands in the result as `error`, in a sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.environment import end_with_parent
from quantize_lib.evaluate.opening import FaultyCheckpointError, doing, kind_of
from quantize_lib.evaluate.process import answer_of, model_question
from quantize_lib.evaluate.reload import load_model
from quantize_lib.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

_BASE = "base."
"""In front of a metric's name, in the file of values."""


def measure_build(
    folder: Path,
    base: Path,
    ids: Path,
    *,
    name: str,
    work: Path,
    tensors: Iterable[TensorInfo],
    device: str,
    trust_remote_code: bool,
    timeout: float = 24 * 3600.0,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The values per token of another build and of the base model, (sequences, length - 1) by metric.

    Args:
        folder: the other build; its own code is not run.
        base: the base model.
        ids: safetensors file with `ids`, int64 (sequences, length).
        name: of the build, for messages.
        work: an existing folder for temporary files and the log.
        tensors: of the base model; those that are stored quantized are dequantized.
        device: where both are loaded: `cpu`, `cuda` or `mps`.
        trust_remote_code: whether the base model's own code is run.
        timeout: in seconds.

    Raises:
        EvaluationError: where it does not load, or its logits cannot be compared with the base model's.
    """
    from safetensors.torch import load_file

    values = work / "values.safetensors"
    spec = {
        "build": model_question(folder, tensors=(), device=device, trust_remote_code=False),
        "base": model_question(base, tensors=tensors, device=device, trust_remote_code=trust_remote_code),
        "ids": str(ids.resolve()),
        "values": str(values.resolve()),
    }
    answer_of(
        "quantize_lib.evaluate.beside",
        spec,
        name=name,
        doing="measuring it",
        log=work / "build.log",
        work=work,
        timeout=timeout,
    )
    found = load_file(values)
    of_base = {key.removeprefix(_BASE): value for key, value in found.items() if key.startswith(_BASE)}
    return {key: value for key, value in found.items() if not key.startswith(_BASE)}, of_base


def main(arguments: list[str]) -> int:
    """Entry point; see the module."""
    from safetensors.torch import save_file

    end_with_parent()
    spec_file, result_file = map(Path, arguments)
    spec = read_json(spec_file)
    try:
        values = _measure(spec)
    except FaultyCheckpointError as problem:
        write_json(result_file, {"error": str(problem)})
    else:
        save_file(values, spec["values"])
        write_json(result_file, {})
    return 0


def _measure(spec: dict[str, Any]) -> dict[str, Tensor]:
    """The values of both models, those of the base model with `_BASE` before their names."""
    import torch
    from safetensors.torch import load_file

    from quantize_lib.logits import Predictions
    from quantize_lib.metrics import MEANS

    with doing("it cannot be loaded"):
        build, _ = load_model(spec["build"], kind_of(Path(spec["build"]["folder"])))
    with doing("the base model cannot be loaded, to compare with"):
        base, _ = load_model(spec["base"], kind_of(Path(spec["base"]["folder"])))
    values: dict[str, list[Tensor]] = {}
    rows: Tensor = load_file(spec["ids"])["ids"]
    with torch.inference_mode(), doing("it cannot read the held-out text"):
        # One sequence at a time: logits are the largest tensors of all.
        for row in rows.to(spec["base"]["device"]).split(1):
            before, after = (
                Predictions(model(input_ids=row, use_cache=False).logits) for model in (base, build)
            )
            for metric in MEANS.values():
                values.setdefault(metric.name, []).append(metric.per_token(after, before, row))
                if not metric.compares:
                    of_base = metric.per_token(before, None, row)
                    values.setdefault(f"{_BASE}{metric.name}", []).append(of_base)
    return {name: torch.cat(found).cpu() for name, found in values.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
