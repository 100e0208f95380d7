"""Reloads a checkpoint in a fresh process and judges whether its figures are those of the pass.

Where a format's users have more than one way of loading, every one has to reproduce them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.evaluate.process import answer_of, model_question
from quantize_lib.files import finite
from quantize_lib.job.job_file import NEW_TOKENS
from quantize_lib.job.records import Reload, SampleFigure
from quantize_lib.metrics import COMPARED, MeanMetric
from quantize_lib.precision import Precision


def is_reproduced(means: Mapping[str, float], expected: Mapping[str, float], precision: Precision) -> bool:
    """Whether the reload's means are the pass's; never where one is not finite.

    Args:
        means: by the metric's name; without those that compare where there is nothing to compare with.
        expected: the pass's, of every metric.
    """
    for metric in COMPARED.values():
        if not math.isfinite(expected.get(metric.name, math.nan)):
            return False
        if metric.compares and metric.name not in means:
            continue
        mean = means.get(metric.name, math.nan)
        if not metric.tolerances[precision].allows(mean, expected[metric.name]):
            return False
    return True


def is_no_worse(means: Mapping[str, float], expected: Mapping[str, float], precision: Precision) -> bool:
    """Whether means of a way of loading that rounds less are at least as good as the pass's.

    Args:
        means, expected: as for `is_reproduced`.
    """
    return all(
        metric.is_better(mean, expected[metric.name])
        or metric.tolerances[precision].allows(mean, expected[metric.name])
        for metric in COMPARED.values()
        if (mean := means.get(metric.name)) is not None
    )


def check_reload(
    folder: Path,
    *,
    prompt: str,
    sample: Path | None,
    base_logits: Path | None,
    expected: Mapping[str, float] | None,
    work: Path,
    base: Path | None = None,
    tensors: Iterable[TensorInfo] = (),
    device: str = "cpu",
    trust_remote_code: bool = False,
    room: bool = False,
    timeout: float = 7200.0,
) -> Reload:
    """Load a checkpoint the way a user would, in a fresh process, and compare with the pass.

    Args:
        folder: the checkpoint.
        prompt: what is continued greedily by 20 tokens.
        sample: safetensors file with `ids`, int64 (sequences, length); None where nothing is evaluated.
        base_logits: safetensors file with the base model's `logits`, (sequences, length, vocabulary).
        expected: the pass's means on the sample, of every metric by its name; without them nothing can be
            contradicted.
        work: an existing folder for temporary files and the log.
        base: the base model, which a checkpoint that continues no text is compared with.
        tensors: of the base model; those that are stored quantized are dequantized.
        device: where the checkpoint is loaded: `cpu`, `cuda` or `mps`.
        room: whether its weights may be kept in full precision besides, which takes less time.
        timeout: in seconds.

    Returns:
        What came of it, still without the base model's continuation (`generate_base`).

    Raises:
        EvaluationError: where the checkpoint does not load, does not generate, lacks tensors or gives logits
            that are not finite.
    """
    result = _run(
        folder,
        folder.name,
        prompt,
        sample,
        base_logits,
        base=base,
        tensors=tensors,
        work=work,
        device=device,
        trust=trust_remote_code,
        room=room,
        timeout=timeout,
    )
    means: Mapping[str, float] = result["means"]
    further: Mapping[str, Mapping[str, float]] = result["further"]
    unrounded: Mapping[str, float] = result["unrounded"]
    precision = Precision(result["precision"])
    reproduced = (
        expected is None
        or not means
        or (
            all(is_reproduced(found, expected, precision) for found in (means, *further.values()))
            and is_no_worse(unrounded, expected, precision)
        )
    )
    return Reload(
        load_seconds=result["load_seconds"],
        peak_memory_bytes=result["peak_memory_bytes"],
        prompt=prompt,
        generated=result["generated"],
        base_generated="",
        sample_tokens=result["sample_tokens"],
        sample=_sample_figures(means, {} if expected is None else expected),
        reproduced=reproduced,
        dtype=result["dtype"],
        modes=tuple(further),
        unrounded_inputs={name: _figure(COMPARED[name], mean) for name, mean in unrounded.items()},
    )


def generate_base(
    folder: Path,
    *,
    tensors: Iterable[TensorInfo] = (),
    prompt: str,
    work: Path,
    device: str = "cpu",
    trust_remote_code: bool = False,
    timeout: float = 7200.0,
) -> str:
    """The base model's greedy continuation of `prompt`, made as `check_reload` makes the checkpoint's.

    Args:
        tensors: what its class loads; those that are stored quantized are dequantized.

    Raises:
        EvaluationError: where the base model does not load or generate.
    """
    trust = trust_remote_code
    result = _run(
        folder,
        "the base model",
        prompt,
        None,
        None,
        tensors=tensors,
        work=work,
        device=device,
        trust=trust,
        timeout=timeout,
    )
    return str(result["generated"])


def _run(
    folder: Path,
    name: str,
    prompt: str,
    sample: Path | None,
    base_logits: Path | None,
    *,
    base: Path | None = None,
    tensors: Iterable[TensorInfo] = (),
    work: Path,
    device: str,
    trust: bool,
    room: bool = False,
    timeout: float,
) -> dict[str, Any]:
    """The reload's result, from a process with a clean environment.

    Args:
        base, tensors, room: as for `check_reload`.
    """
    spec = {
        **model_question(folder, tensors=tensors, device=device, trust_remote_code=trust),
        "prompt": prompt,
        "new_tokens": NEW_TOKENS,
        "sample": None if sample is None else str(sample.resolve()),
        "base_logits": None if base_logits is None else str(base_logits.resolve()),
        "room": room,
        "base": None if base is None else str(base.resolve()),
    }
    return answer_of(
        "quantize_lib.evaluate.reload",
        spec,
        name=name,
        doing="the reload",
        log=work / f"{folder.name}.log",
        work=work,
        timeout=timeout,
    )


def _sample_figures(means: Mapping[str, float], expected: Mapping[str, float]) -> dict[str, SampleFigure]:
    return {
        metric.name: SampleFigure(
            reloaded=_figure(metric, means.get(metric.name)),
            of_pass=_figure(metric, expected.get(metric.name)),
        )
        for metric in COMPARED.values()
        if metric.name in means or metric.name in expected
    }


def _figure(metric: MeanMetric, mean: float | None) -> float | None:
    return None if mean is None else finite(metric.figure(mean))
