"""The quantizing process: one job, from a folder with a base model to folders with checkpoints.

It has no token and needs no network. Everything it says, it leaves in `result.json`.
"""

from __future__ import annotations

import errno
import gc
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.checkpoint.assemble import assemble, cannot_write, weight_bytes
from quantize_lib.errors import (
    CalibrationError,
    CheckpointError,
    EvaluationError,
    ExitCode,
    QuantizerError,
    UsageError,
)
from quantize_lib.files import read_json, write_json
from quantize_lib.memory import peak_resident_bytes
from quantize_lib.run.jobfile import RESULT_FILE, JobCell, JobFile, JobText
from quantize_lib.run.versions import versions
from quantize_lib.types import DeviceName, ModelFacts, ModelSpec, Reporter, Settings, TextRecord

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from quantize_lib.checkpoint.shards import ShardWriter
    from quantize_lib.engine.model import StreamedModel
    from quantize_lib.engine.shared_pass import CellOutcome, CellWork, PassOutcome

_SAMPLE_BYTES = 256 * 2**20
"""Room for the base model's logits that the check after the reload compares with."""
_SAMPLE_SEQUENCES = 2
_LEAST_FREE_BYTES = 2**16
"""A reload writes less than that into its folder."""


def run_job(job: JobFile, reporter: Reporter) -> ExitCode:
    """Quantize, write, reload and measure every cell of a job.

    Returns:
        OK, or CELL_FAILED where at least one cell failed; the reasons are in the result.

    Raises:
        QuantizerError: where no cell can be worked on; the result says so too.
    """
    result: dict[str, Any] = {
        "version": 1,
        "job": job.id,
        "device": job.device,
        "versions": versions(),
        "peak_memory_bytes": 0,
        "cells": {cell.id: {} for cell in job.cells},
    }
    try:
        _Job(job, reporter, result).run()
    except QuantizerError as error:
        _fail_rest(job, result, error)
        raise
    except OSError as error:
        # Everything foreign is read with errors of its own; what is left is a disk that takes no more.
        failure = cannot_write(job.output, error)
        _fail_rest(job, result, failure)
        raise failure from error
    finally:
        result["peak_memory_bytes"] = max(result["peak_memory_bytes"], _peak_memory(result["device"]))
        write_json(job.output / RESULT_FILE, result)
    failed = any("error" in entry for entry in result["cells"].values())
    return ExitCode.CELL_FAILED if failed else ExitCode.OK


def _fail_rest(job: JobFile, result: dict[str, Any], error: QuantizerError) -> None:
    """Every cell that has no error yet failed with this one; what was written of them goes."""
    for cell_id, entry in result["cells"].items():
        entry.setdefault("error", str(error))
        shutil.rmtree(job.output / cell_id, ignore_errors=True)


def choose_device(name: DeviceName) -> torch.device:
    """The device that was asked for; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: where this machine does not have it.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    if not available[name]:
        reason = (
            "PyTorch was installed without CUDA"
            if name == "cuda" and torch.version.cuda is None
            else f"PyTorch {torch.__version__} finds no such device here"
        )
        raise UsageError(
            f"device {name}: {reason}",
            hint="Available: " + ", ".join(key for key, value in available.items() if value) + ", auto.",
        )
    return torch.device(name)


class _Job:
    def __init__(self, job: JobFile, reporter: Reporter, result: dict[str, Any]) -> None:
        self._job = job
        self._reporter = reporter
        self._result = result

    def run(self) -> None:
        from quantize_lib.source import read_facts

        job = self._job
        device = choose_device(job.device)
        self._result["device"] = device.type
        spec = ModelSpec(id=job.model.name, name=job.model.name, local=job.model.path)
        facts = read_facts(spec, job.model.path, revision=job.model.revision)
        calibration = self._tokens(job.calibration, "calibration")
        evaluation = self._tokens(job.evaluation, "evaluation")
        outcome = self._quantize(facts, device, calibration, evaluation)
        self._result["shared_seconds"] = outcome.shared_seconds
        self._check(outcome, evaluation)

    def _tokens(self, text: JobText | None, word: str) -> Tensor | None:
        if text is None:
            return None
        from transformers import AutoTokenizer

        from quantize_lib.calibration.tokens import tokenize

        try:
            _check_tokenizer(self._job.model.path / "tokenizer.json")
            tokenizer = AutoTokenizer.from_pretrained(
                self._job.model.path, trust_remote_code=self._job.model.trust_remote_code
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CalibrationError(
                f"the tokenizer of {self._job.model.name} cannot be loaded: {error}"
            ) from error
        batch = tokenize(
            read_json(text.texts),
            tokenizer,
            samples=text.samples,
            sequence_length=text.sequence_length,
            seed=text.seed,
            allow_short=text.allow_short,
        )
        if batch.short:
            self._reporter.warning(
                f"{word}: {text.source} gives {batch.ids.shape[0]} sequences of {batch.ids.shape[1]} tokens, "
                f"{text.samples} × {text.sequence_length} were asked for"
            )
        record = TextRecord(
            source=text.source,
            dataset=text.dataset,
            revision=text.revision,
            samples=batch.ids.shape[0],
            sequence_length=batch.ids.shape[1],
            tokens=batch.ids.numel(),
            tokens_digest=batch.digest,
            short=batch.short,
        )
        self._result[word] = asdict(record)
        return batch.ids

    def _quantize(
        self, facts: ModelFacts, device: torch.device, calibration: Tensor | None, evaluation: Tensor | None
    ) -> PassOutcome:
        from quantize_lib.engine.model import StreamedModel
        from quantize_lib.engine.shared_pass import SharedPass
        from quantize_lib.source.families import get_family

        job = self._job
        model = StreamedModel(
            job.model.path,
            facts,
            blocks=get_family(facts.config).blocks,
            device=device,
            trust_remote_code=job.model.trust_remote_code,
        )
        writers: dict[str, ShardWriter] = {}
        works = [self._work(cell, facts, writers) for cell in job.cells]
        sample = 0
        if evaluation is not None:
            per_sequence = evaluation.shape[1] * int(facts.config.get("vocab_size", 1)) * 4
            sample = max(1, min(_SAMPLE_SEQUENCES, _SAMPLE_BYTES // per_sequence))
        outcome = SharedPass(
            model,
            works,
            calibration=calibration,
            evaluation=evaluation,
            sample=sample,
            reporter=self._reporter,
        ).run()
        for work in works:
            cell = outcome.cells[work.id]
            error = cell.error
            if error is None:
                try:
                    self._finish(work, cell, model, writers[work.id], facts, len(works), outcome)
                except CheckpointError as failure:
                    error = failure
                    self._reporter.error(f"{work.id}: {failure}")
            if error is not None:
                self._result["cells"][work.id]["error"] = str(error)
                shutil.rmtree(self._job.output / work.id)
        return outcome

    def _work(self, cell: JobCell, facts: ModelFacts, writers: dict[str, ShardWriter]) -> CellWork:
        from quantize_lib.checkpoint.shards import ShardWriter
        from quantize_lib.engine.methods.registry import get_method
        from quantize_lib.engine.shared_pass import CellWork
        from quantize_lib.source.groups import resolved_layers

        folder = self._job.output / cell.id
        folder.mkdir(parents=True)
        layers = {layer.name: (bits, size) for layer, bits, size in resolved_layers(facts, cell.settings)}
        # The most verbose format, bitsandbytes, writes six tensors for a layer.
        writers[cell.id] = ShardWriter(folder, tensors=len(facts.tensors) + 6 * len(layers))
        return CellWork(
            id=cell.id,
            settings=cell.settings,
            method=get_method(cell.settings.method),
            layers=layers,
            sink=writers[cell.id],
        )

    def _finish(
        self,
        work: CellWork,
        cell: CellOutcome,
        model: StreamedModel,
        writer: ShardWriter,
        facts: ModelFacts,
        sharers: int,
        outcome: PassOutcome,
    ) -> None:
        from quantize_lib.engine.block import CellContext
        from quantize_lib.source import side_files
        from quantize_lib.source.families import get_family
        from quantize_lib.source.groups import resolve_group_size

        folder = self._job.output / work.id
        group_size = resolve_group_size(facts, work.settings)
        context = CellContext(
            settings=work.settings,
            group_size=group_size,
            model_type=str(facts.config.get("model_type", "")),
            blocks=model.blocks,
            quantized=tuple(work.layers),
            kept=tuple(layer.name for layer in facts.layers if layer.name not in work.layers),
            outside=model.outside_linears(),
            dtype=model.disk_dtype,
            conv1d=get_family(facts.config).conv1d,
        )
        writer.finish()
        assemble(
            folder,
            base=self._job.model.path,
            config=facts.config,
            quantization_config=work.method.quantization_config(context),
            side_files=side_files(self._job.model.path, code=self._job.model.trust_remote_code),
        )
        entry: dict[str, Any] = self._result["cells"][work.id]
        entry["group_size"] = group_size if work.settings.method != "bitsandbytes" else None
        entry["seconds"] = cell.seconds + outcome.shared_seconds / sharers
        entry["size_after"] = weight_bytes(folder)
        entry["notes"] = [*cell.notes, *_left_out(facts, work.settings)]
        entry["errors"] = cell.errors
        if outcome.base_nll is not None and cell.nll is not None and cell.kl is not None:
            entry["perplexity_before"] = _perplexity(outcome.base_nll)
            entry["perplexity_after"] = _perplexity(cell.nll)
            entry["kl_divergence"] = _finite(float(cell.kl.double().mean()))

    def _check(self, outcome: PassOutcome, evaluation: Tensor | None) -> None:
        """Reload every finished checkpoint in a fresh process, as a user would."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        from quantize_lib.evaluate.check import PassFigures, check_reload, generate_base

        job = self._job
        cells = [cell for cell in job.cells if "error" not in self._result["cells"][cell.id]]
        if not cells:
            return
        work = job.output / ".reload"
        work.mkdir()
        sample_file: Path | None = None
        logits_file: Path | None = None
        count = 0
        if evaluation is not None and outcome.base_logits is not None:
            count = outcome.base_logits.shape[0]
            sample_file, logits_file = work / "sample.safetensors", work / "base-logits.safetensors"
            try:
                save_file({"ids": evaluation[:count].contiguous()}, sample_file)
                save_file({"logits": outcome.base_logits}, logits_file)
            except SafetensorError as error:
                raise cannot_write(work, error) from error
        figures = {
            cell_id: PassFigures(
                nll=float(cell.nll[:count].double().mean()), kl=float(cell.kl[:count].double().mean())
            )
            for cell_id, cell in outcome.cells.items()
            if cell.nll is not None and cell.kl is not None
        }
        del outcome
        gc.collect()
        with self._reporter.progress("Reloading", len(cells), "checkpoint") as progress:
            try:
                base_generated = generate_base(
                    job.model.path,
                    prompt=job.prompt,
                    work=work,
                    device=self._result["device"],
                    trust_remote_code=job.model.trust_remote_code,
                )
            except EvaluationError as error:
                raise _with_log(error, work / f"{job.model.path.name}.log") from error
            for cell in cells:
                entry = self._result["cells"][cell.id]
                try:
                    reload = check_reload(
                        job.output / cell.id,
                        prompt=job.prompt,
                        base_generated=base_generated,
                        sample=sample_file,
                        base_logits=logits_file,
                        expected=figures.get(cell.id),
                        work=work,
                        device=self._result["device"],
                        trust_remote_code=job.model.trust_remote_code,
                    )
                except EvaluationError as error:
                    entry["error"] = str(_with_log(error, work / f"{cell.id}.log"))
                    shutil.rmtree(job.output / cell.id)
                else:
                    entry["reload"] = asdict(reload)
                progress.advance()
        for file in (sample_file, logits_file):
            if file is not None:
                file.unlink()


def _peak_memory(device: str) -> int:
    """Of the device on CUDA, else of this process, in bytes."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return peak_resident_bytes()


def _with_log(error: EvaluationError, log: Path) -> QuantizerError:
    """The error, its log among the temporary files copied to our own standard error, which is kept."""
    if log.exists():
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
    if shutil.disk_usage(log.parent).free < _LEAST_FREE_BYTES:
        # The reload could write neither its log nor its result; what it did say only misleads.
        return cannot_write(log.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return EvaluationError(error.message, hint="Everything it printed is in the log of the run.")


def _check_tokenizer(file: Path) -> None:
    """The tokenizers library raises the bare `Exception` for a damaged file; this says it better.

    Raises:
        ValueError: where it is no tokenizer.
    """
    if not file.exists():
        return
    data = read_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise ValueError(f"{file.name} holds no tokenizer")


def _left_out(facts: ModelFacts, settings: Settings) -> list[str]:
    """A word on the layers that the method's format cannot hold for this family."""
    names = dict.fromkeys(
        ".".join(part for part in layer.name.split(".") if not part.isdecimal())
        for layer in facts.layers
        if settings.method in layer.not_for
    )
    if not names:
        return []
    return [f"{', '.join(names)} stay in full precision: transformers cannot load them in this format"]


def _perplexity(nll: Tensor) -> float | None:
    return _finite(float(nll.double().mean().exp()))


def _finite(value: float) -> float | None:
    """JSON has no NaN; what is not finite is not a figure."""
    return value if abs(value) < float("inf") else None
