"""Measures a checkpoint, or any model folder, the way a user meets it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.architecture.language_model import text_config
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import EvaluationError, SourceError, UsageError
from quantize_lib.files import read_json
from quantize_lib.job.job_file import DEFAULT_PROMPT
from quantize_lib.metrics import COMPARED
from quantize_lib.reporting import Reporter
from quantize_lib.source.checkpoint import checkpoint_config, checkpoint_positions
from quantize_lib.tasks import task_of
from quantize_lib.tokenizer.loading import load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor


def evaluate_folder(
    folder: Path, files: tuple[Path, ...], *, samples: int, sequence_length: int, reporter: Reporter
) -> dict[str, Any]:
    """Load a folder with plain transformers in a fresh process and measure it.

    Args:
        folder: a checkpoint or model.
        files: held-out text; without any, only loading and generating are tried.
        samples, sequence_length: how much of it.

    Returns:
        load_seconds, peak_memory_bytes (of the loading process), size (bytes of the weights), prompt,
        generated, dtype, tokens, and the figure of every metric that needs no base model, null without text.

    Raises:
        UsageError: where there is no such folder or file, or the model has not so many positions.
        CalibrationError: where the text is too short.
        EvaluationError: where it does not load.
    """
    from quantize_lib.checkpoint.assemble import weight_bytes
    from quantize_lib.evaluate.check import check_reload

    config = checkpoint_config(folder)
    task = task_of(config)
    if files and not task.continues:
        raise UsageError(
            f"--text: {folder} is {task.words}, which continues no text",
            hint="Leave --text out: that it loads and gives outputs is tried without.",
        )
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UsageError(f"--text: there is no file {missing[0]}")
    limit = checkpoint_positions(folder, config)
    if files and limit is not None and sequence_length > limit:
        raise UsageError(
            f"--sequence-length is {sequence_length}, and the model has {limit} positions",
            hint=f"Say --sequence-length {limit} or less.",
        )
    with tempfile.TemporaryDirectory() as name, reporter.group(f"Evaluating {folder.name}"):
        work = Path(name)
        sample = _sample(folder, files, samples, sequence_length, work, reporter) if files else None
        reload = check_reload(
            folder,
            prompt=DEFAULT_PROMPT,
            sample=sample,
            base_logits=None,
            expected=None,
            work=work,
        )
    return {
        "path": str(folder),
        "quantization": config.get("quantization_config", {}).get("quant_method"),
        "size": weight_bytes(folder),
        "load_seconds": round(reload.load_seconds, 2),
        "peak_memory_bytes": reload.peak_memory_bytes,
        "dtype": reload.dtype,
        "prompt": reload.prompt,
        "generated": reload.generated,
        "tokens": reload.sample_tokens,
        **{
            metric.name: reload.sample[metric.name].reloaded if metric.name in reload.sample else None
            for metric in COMPARED.values()
            if not metric.compares
        },
    }


def _sample(
    folder: Path,
    files: tuple[Path, ...],
    samples: int,
    sequence_length: int,
    work: Path,
    reporter: Reporter,
) -> Path:
    from safetensors.torch import save_file

    spec = TextSpec(
        files=tuple(file.absolute() for file in files), samples=samples, sequence_length=sequence_length
    )
    path = work / "sample.safetensors"
    save_file({"ids": held_out_tokens(folder, spec, {}, reporter=reporter)}, path)
    return path


def held_out_tokens(
    folder: Path, spec: TextSpec, chat_template_kwargs: Mapping[str, Any], *, reporter: Reporter
) -> Tensor:
    """Token ids of a text by a folder's own tokenizer, int64 (sequences, length).

    Args:
        folder: a checkpoint or model.
        spec: where the text comes from and how much of it; one source, no mix.
        chat_template_kwargs: variables of the template by which conversations become text.

    Raises:
        CalibrationError: where the text cannot be read, or is too short.
        EvaluationError: where the tokenizer does not load.
    """
    from quantize_lib.calibration.texts import collect_texts
    from quantize_lib.calibration.tokens import tokenize

    try:
        tokenizer = load_tokenizer(folder, trust_remote_code=False)
    except SourceError as error:
        raise EvaluationError(f"{folder}: {error.message}", hint=error.hint) from error
    rows = text_config(read_json(folder / "config.json")).get("vocab_size")
    texts = collect_texts(spec, token=None)
    for note in texts.notes:
        reporter.warning(note)
    batch = tokenize(
        texts.texts,
        tokenizer,
        samples=spec.samples,
        sequence_length=spec.sequence_length,
        seed=spec.seed,
        allow_short=False,
        rows=rows if isinstance(rows, int) else None,
        chat_template_kwargs=chat_template_kwargs,
    )
    return batch.ids
