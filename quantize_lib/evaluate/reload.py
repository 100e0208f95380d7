"""Loads a checkpoint as a user would and says what came of it; run in a fresh process.

`python -m quantize_lib.evaluate.reload SPEC.json RESULT.json`, both files of `check`. What is wrong with the
checkpoint stands in the result as `error`, in a sentence; what a library says of it at length is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.environment import end_with_parent
from quantize_lib.evaluate.continuation import continue_prompt
from quantize_lib.evaluate.opening import FaultyCheckpointError, Kind, doing, kind_of, load_whole, request_of
from quantize_lib.evaluate.outputs import difference as differs
from quantize_lib.evaluate.outputs import outputs_of
from quantize_lib.files import read_json, write_json
from quantize_lib.formats import Format
from quantize_lib.precision import precision_of
from quantize_lib.process_memory import peak_memory

if TYPE_CHECKING:
    from torch import Tensor


def main(arguments: list[str]) -> int:
    """Entry point; see the module."""
    end_with_parent()
    spec_file, result_file = map(Path, arguments)
    try:
        result = _reload(read_json(spec_file))
    except FaultyCheckpointError as problem:
        result = {"error": str(problem)}
    write_json(result_file, result)
    return 0


def _reload(spec: dict[str, Any]) -> dict[str, Any]:
    """Load, generate, and measure on the sample where there is one."""
    import torch
    from transformers import AutoTokenizer

    folder, device = spec["folder"], spec["device"]
    kind = kind_of(Path(folder))
    with doing("it cannot be loaded"):
        model, load_seconds = load_model(spec, kind)
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=spec["trust_remote_code"], local_files_only=True
        )
    dtype = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
    coarsest = _coarsest(model, dtype)
    precision = (
        precision_of(coarsest) if kind.format is None else kind.format.precision(coarsest, kind.quantization)
    )
    result: dict[str, Any] = {
        "load_seconds": load_seconds,
        "generated": "",
        "dtype": dtype,
        "precision": precision.value,
        "sample_tokens": 0,
        "means": {},
        "further": {},
        "unrounded": {},
    }
    if not kind.task.continues:
        with doing("it gives no outputs"):
            outputs = outputs_of(model, tokenizer, spec["prompt"])
        if not all(bool(torch.isfinite(values).all()) for values in outputs.values()):
            raise FaultyCheckpointError("its outputs are NaN or Inf")
        result["peak_memory_bytes"] = peak_memory(device)
        # Two at once may not fit into memory.
        del model
        if spec["base"] is not None:
            _compare(outputs, spec, kind, tokenizer, dtype)
        return result
    with torch.inference_mode():
        with doing("it cannot continue a prompt"):
            # A token as users get it, which says what memory that takes: what is kept afterwards, and the
            # sample's logits, are this check's own need, not the model's.
            continue_prompt(model, tokenizer, spec["prompt"], count=1)
            result["peak_memory_bytes"] = peak_memory(device)
            _keep_weights(model, spec, kind)
            result["generated"] = continue_prompt(model, tokenizer, spec["prompt"], count=spec["new_tokens"])
        if spec["sample"] is None:
            return result
        with doing("it cannot read the held-out text"):
            result.update(_measure(model, Path(spec["sample"]), spec["base_logits"], device))
        # Two at once may not fit into memory.
        del model
        if kind.format is not None:
            _measure_modes(spec, kind, kind.format, result)
    return result


def _measure_modes(spec: Mapping[str, Any], kind: Kind, chosen: Format, result: dict[str, Any]) -> None:
    """Add to the result what the sample gives in the other ways of loading that a format's users have."""
    for mode in filter(None, chosen.modes(kind.quantization)):
        print(f"Loading once more, with the mode {mode!r}.", flush=True)
        with doing(f"it cannot be loaded and read with the mode {mode!r}"):
            model, _ = load_model(spec, kind, mode)
            _keep_weights(model, spec, kind)
            measured = _measure(model, Path(spec["sample"]), spec["base_logits"], spec["device"])
            # Two at once may not fit into memory.
            del model
        if chosen.rounds_less(mode, kind.quantization):
            result["unrounded"] = measured["means"]
        else:
            result["further"][mode] = measured["means"]


def _keep_weights(model: Any, spec: Mapping[str, Any], kind: Kind) -> None:
    """Let layers keep what they dequantize, where there is room for it."""
    if spec["room"] and kind.format is not None:
        kind.format.keep_dequantized(model)


def _compare(
    outputs: Mapping[str, Tensor], spec: Mapping[str, Any], kind: Kind, tokenizer: Any, dtype: str
) -> None:
    """See that the outputs are those of the base model, quantized by the library itself as it is loaded."""
    asked = None if kind.format is None else kind.format.on_loading(kind.quantization)
    if asked is None:
        return
    print("Loading the base model, quantized on the way.", flush=True)
    with doing("the base model cannot be quantized on loading, to compare with"):
        base, _ = load_model(
            {**spec, "folder": spec["base"], "dtype": dtype}, Kind(task=kind.task), asked=asked
        )
        difference = differs(outputs, outputs_of(base, tokenizer, spec["prompt"]))
    if difference is not None:
        raise FaultyCheckpointError(
            f"its outputs are not those of the base model quantized on loading: {difference}"
        )


def load_model(
    spec: Mapping[str, Any], kind: Kind, mode: str = "", *, asked: object | None = None
) -> tuple[Any, float]:
    """The model and the seconds that it took, imports aside.

    Args:
        mode: one of the format's ways of loading.
        asked: how a base model is quantized as it is loaded.
    """
    request = request_of(
        spec["folder"],
        dtype=spec["dtype"],
        device=spec["device"],
        trust_remote_code=spec["trust_remote_code"],
        task=kind.task,
        mode=mode,
    )
    tensors = () if kind.format is not None else spec["tensors"]
    loaded = load_whole(request, kind, tensors=tensors, asked=asked)
    return loaded.model, loaded.seconds


def _measure(model: Any, sample: Path, base_logits: str | None, device: str) -> dict[str, Any]:
    """Every metric's mean over the sample, one sequence at a time: logits are the largest tensors of all.

    Args:
        sample: a safetensors file with `ids`, int64 (sequences, length).
        base_logits: a safetensors file with `logits`, (sequences, length, vocabulary); without it there is
            nothing of the metrics that compare.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    from quantize_lib.logits import Predictions
    from quantize_lib.metrics import COMPARED

    ids: Tensor = load_file(sample)["ids"].to(device)
    means: dict[str, list[Tensor]] = {}
    for row in range(ids.shape[0]):
        one = ids[row : row + 1]
        logits = model(input_ids=one, use_cache=False).logits
        if not bool(torch.isfinite(logits).all()):
            raise FaultyCheckpointError(
                f"the reloaded checkpoint gives NaN or Inf logits for sample sequence {row}"
            )
        predictions, base = Predictions(logits), None
        if base_logits is not None:
            with safe_open(base_logits, framework="pt", device=device) as file:
                base = Predictions(file.get_slice("logits")[row : row + 1])
        for metric in COMPARED.values():
            if base is not None or not metric.compares:
                values = metric.per_token(predictions, base, one)
                means.setdefault(metric.name, []).append(metric.sequence_means(values))
    return {
        "sample_tokens": ids.numel(),
        "means": {name: float(torch.cat(values).mean()) for name, values in means.items()},
    }


def _coarsest(model: Any, dtype: str) -> str:
    """The dtype that the model computes most coarsely in: experts may be in another one than the rest."""
    short = (value.dtype for value in model.parameters() if value.is_floating_point() and value.itemsize == 2)
    found = next(short, None)
    return dtype if found is None else str(found).removeprefix("torch.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
