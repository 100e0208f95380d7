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
from quantize_lib.evaluate.opening import FaultyCheckpointError, doing, load_whole, request_of
from quantize_lib.evaluate.outputs import difference as differs
from quantize_lib.evaluate.outputs import outputs_of
from quantize_lib.files import read_json, write_json
from quantize_lib.formats import Format, format_of_config
from quantize_lib.precision import precision_of
from quantize_lib.process_memory import peak_memory
from quantize_lib.tasks import Task, task_of

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
    trust, sample = spec["trust_remote_code"], spec["sample"]
    config = read_json(Path(folder) / "config.json")
    quantization = config.get("quantization_config") or {}
    chosen = format_of_config(quantization)
    task = task_of(config)
    with doing("it cannot be loaded"):
        model, load_seconds = load_model(spec, chosen, quantization, task=task)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    dtype = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
    coarsest = _coarsest(model, dtype)
    precision = precision_of(coarsest) if chosen is None else chosen.precision(coarsest, quantization)
    if not task.continues:
        with doing("it gives no outputs"):
            outputs = outputs_of(model, tokenizer, spec["prompt"])
        if not all(bool(torch.isfinite(values).all()) for values in outputs.values()):
            raise FaultyCheckpointError("its outputs are NaN or Inf")
        peak = peak_memory(device)
        # Two at once may not fit into memory.
        del model
        if spec["base"] is not None and chosen is not None:
            _compare(outputs, spec, chosen, quantization, tokenizer, dtype, task)
        return {
            "load_seconds": load_seconds,
            "generated": "",
            "peak_memory_bytes": peak,
            "dtype": dtype,
            "precision": precision.value,
            "sample_tokens": 0,
            "means": {},
            "further": {},
            "unrounded": {},
        }
    with torch.inference_mode():
        with doing("it cannot continue a prompt"):
            # A token as users get it, which says what memory that takes.
            continue_prompt(model, tokenizer, spec["prompt"], count=1)
            peak = peak_memory(device)
            if spec["room"] and chosen is not None:
                chosen.keep_dequantized(model)
            generated = continue_prompt(model, tokenizer, spec["prompt"], count=spec["new_tokens"])
        result: dict[str, Any] = {
            "load_seconds": load_seconds,
            "generated": generated,
            # Before the sample: its logits are this check's own need, not the model's.
            "peak_memory_bytes": peak,
            "dtype": dtype,
            "precision": precision.value,
            "sample_tokens": 0,
            "means": {},
            "further": {},
            "unrounded": {},
        }
        if sample is None:
            return result
        with doing("it cannot read the held-out text"):
            result.update(_measure(model, Path(sample), spec["base_logits"], device))
        for mode in () if chosen is None else chosen.modes(quantization):
            if mode:
                # Two at once may not fit into memory.
                del model
                print(f"Loading once more, with the mode {mode!r}.", flush=True)
                with doing(f"it cannot be loaded and read with the mode {mode!r}"):
                    model, _ = load_model(spec, chosen, quantization, mode, task=task)
                    if spec["room"] and chosen is not None:
                        chosen.keep_dequantized(model)
                    measured = _measure(model, Path(sample), spec["base_logits"], device)
                if chosen is not None and chosen.rounds_less(mode, quantization):
                    result["unrounded"] = measured["means"]
                else:
                    result["further"][mode] = measured["means"]
    return result


def _compare(
    outputs: Mapping[str, Tensor],
    spec: Mapping[str, Any],
    chosen: Format,
    quantization: Mapping[str, Any],
    tokenizer: Any,
    dtype: str,
    task: Task,
) -> None:
    """See that the outputs are those of the base model, quantized by the library itself as it is loaded."""
    asked = chosen.on_loading(quantization)
    if asked is None:
        return
    print("Loading the base model, quantized on the way.", flush=True)
    with doing("the base model cannot be quantized on loading, to compare with"):
        base, _ = load_model(
            {**spec, "folder": spec["base"], "dtype": dtype}, None, {}, task=task, asked=asked
        )
        difference = differs(outputs, outputs_of(base, tokenizer, spec["prompt"]))
    if difference is not None:
        raise FaultyCheckpointError(
            f"its outputs are not those of the base model quantized on loading: {difference}"
        )


def load_model(
    spec: Mapping[str, Any],
    chosen: Format | None,
    quantization: Mapping[str, Any],
    mode: str = "",
    *,
    task: Task,
    asked: object | None = None,
) -> tuple[Any, float]:
    """The model and the seconds that it took, imports aside.

    Args:
        chosen: the checkpoint's format; None for a base model.
        quantization: its `quantization_config`.
        mode: one of the format's ways of loading.
        task: what the model was made for.
        asked: how a base model is quantized as it is loaded.
    """
    request = request_of(
        spec["folder"],
        dtype=spec["dtype"],
        device=spec["device"],
        trust_remote_code=spec["trust_remote_code"],
        task=task,
        mode=mode,
    )
    tensors = () if chosen is not None else spec["tensors"]
    loaded = load_whole(request, chosen, quantization, tensors=tensors, asked=asked)
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
        base: Tensor | None = None
        if base_logits is not None:
            with safe_open(base_logits, framework="pt", device=device) as file:
                base = file.get_slice("logits")[row : row + 1]
        for metric in COMPARED.values():
            if base is not None or not metric.compares:
                values = metric.per_token(logits, base, one)
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
