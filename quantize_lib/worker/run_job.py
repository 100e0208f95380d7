"""The quantizing process: one job, from a folder with a base model to folders with checkpoints.

It has no token and needs no network. Everything it says, it leaves in `result.json`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.architecture.assignment import format_of, left_out, stored_types, traits_of
from quantize_lib.architecture.config_values import written_config
from quantize_lib.architecture.language_model import vocabulary
from quantize_lib.checkpoint.assemble import assemble, cannot_write, weight_bytes
from quantize_lib.errors import ExitCode, QuantizerError
from quantize_lib.files import Room, sha256_json
from quantize_lib.formats import CheckpointContext
from quantize_lib.job.job_file import JobCell, JobFile
from quantize_lib.job.layout import PASSES
from quantize_lib.job.result import CellResult, FailedCell, QuantizedCell
from quantize_lib.job.statistics_record import StatisticsRecord
from quantize_lib.methods import Settings, get_method
from quantize_lib.methods.common import GROUP_SIZE, is_automatic
from quantize_lib.metrics import COMPARED
from quantize_lib.process_memory import peak_memory, share_one_heap
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.tidied import tidied
from quantize_lib.worker.answer import Answer
from quantize_lib.worker.base_model import BaseModel, build_model, open_base
from quantize_lib.worker.choose_bits import with_bits
from quantize_lib.worker.held_out import load_held_out
from quantize_lib.worker.job_builds import measure_builds
from quantize_lib.worker.job_checks import check_cells
from quantize_lib.worker.job_memory import fit
from quantize_lib.worker.job_tasks import check_job_tasks, run_job_tasks
from quantize_lib.worker.job_text import load_tokens
from quantize_lib.worker.resume import Finished, alone_in, cell_keys, finished_key, open_passes, pass_key
from quantize_lib.worker.shard_job import make_shard
from quantize_lib.worker.statistics_files import open_statistics, read_shards, source_of
from quantize_lib.worker.unfit import cells_left
from quantize_lib.worker.unpickle import as_safetensors

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.engine.cell_work import CellWork, PassOutcome
    from quantize_lib.engine.layered_model import LayeredModel
    from quantize_lib.engine.model import StreamedModel
    from quantize_lib.engine.pass_state import CellOutcome
    from quantize_lib.worker.pass_store import PassFolder

_SAMPLE_BYTES = 256 * 2**20
"""Room for the base model's logits that the check after the reload compares with."""
_SAMPLE_SEQUENCES = 2
_ROOM_FILE = ".room"
_ROOM_BYTES = 32_000
"""Kept for the answer: for each cell, and for the rest of it."""
_MOST_PARTS = 6
"""Tensors of a layer in the most verbose format."""


def run_job(job: JobFile, reporter: Reporter) -> ExitCode:
    """Quantize, write, reload and measure every cell of a job, from where an earlier process was killed.

    Returns:
        OK, or CELL_FAILED where at least one cell failed; the reasons are in the result.

    Raises:
        QuantizerError: where no cell can be worked on; the result says so too.
    """
    share_one_heap()
    answer = Answer(job)
    room = Room(job.output / _ROOM_FILE, _ROOM_BYTES * (1 + len(job.cells)))
    try:
        with (
            alone_in(job.output),
            as_safetensors(job.model, job.output, reporter) as model,
            tidied(model.path, job.output) as seen,
        ):
            job = replace(job, model=replace(model, path=seen))
            if job.shard is not None:
                make_shard(job, job.shard, model.path, reporter, answer)
            else:
                _Job(job, model.path, reporter, answer).run()
    except QuantizerError as error:
        answer.fail_rest(error)
        raise
    except OSError as error:
        # Everything foreign is read with errors of its own; what is left is a disk that takes no more.
        failure = cannot_write(job.output, error)
        answer.fail_rest(failure)
        raise failure from error
    finally:
        room.release()
        answer.write()
    return ExitCode.OK if answer.result().first_failed() is None else ExitCode.CELL_FAILED


class _Job:
    """A job at work.

    Args:
        job: with the base model as libraries are to see it.
        base: the base model's own folder.
    """

    def __init__(self, job: JobFile, base: Path, reporter: Reporter, answer: Answer) -> None:
        self._job = job
        self._base = base
        self._reporter = reporter
        self._answer = answer

    def run(self) -> None:
        job = self._job
        base = open_base(job, self._base, self._answer, self._reporter)
        facts, tokenizer = base.facts, base.tokenizer
        rows = vocabulary(facts.config)
        calibration: Tensor | None = None
        if job.calibration is not None:
            calibration, self._answer.calibration = load_tokens(
                job.calibration, tokenizer, rows=rows, word="calibration", reporter=self._reporter
            )
        held_out = load_held_out(job, calibration, tokenizer, rows=rows, reporter=self._reporter)
        self._answer.held_out = held_out
        keys = cell_keys(job, self._answer)
        finished = Finished.find(job.output, finished_key(job, self._answer), keys)
        # The same object: what comes of a cell is part of the answer at once.
        self._answer.cells = finished.cells
        check_job_tasks(job)
        left = cells_left(job, facts, finished, keys, self._reporter)
        if left:
            shards = read_shards(job)
            key = pass_key(job, self._answer, shards)
            self._quantize(left, key, keys, finished, base, calibration, held_out.ids, shards)
        self._answer.shared_seconds = finished.shared_seconds
        self._answer.peak_memory_bytes = finished.peak_memory_bytes
        check_cells(job, facts, finished, held_out.ids, self._answer.device, self._reporter)
        run_job_tasks(job, facts, finished, self._answer.device, self._reporter)
        measure_builds(job, facts, finished, held_out, self._answer.device, self._reporter)
        self._answer.builds = finished.builds
        self._answer.unfinished = any(
            isinstance(cell, QuantizedCell) and cell.failure is not None for cell in finished.cells.values()
        )

    def _quantize(
        self,
        cells: tuple[JobCell, ...],
        key: str,
        keys: Mapping[str, str],
        finished: Finished,
        base: BaseModel,
        calibration: Tensor | None,
        evaluation: Tensor | None,
        shards: Sequence[StatisticsRecord],
    ) -> None:
        from quantize_lib.engine.layered_model import LayeredModel
        from quantize_lib.engine.layered_pass import LayeredPass
        from quantize_lib.engine.model import StreamedModel
        from quantize_lib.engine.shared_pass import SharedPass

        job = self._job
        text = evaluation if calibration is None else calibration
        model, facts = build_model(job, base, text, key, self._reporter)
        given = None
        if shards and isinstance(model, StreamedModel) and calibration is not None:
            given = open_statistics(shards, source_of(job, self._answer, model), self._reporter)
        if isinstance(model, StreamedModel):
            cells = with_bits(
                cells,
                model=model,
                facts=facts,
                calibration=calibration,
                base=self._base,
                folder=job.output / PASSES,
                key=sha256_json([key, self._answer.calibration and asdict(self._answer.calibration)]),
                reporter=self._reporter,
            )
        layers = {cell.id: _layers(facts, cell.settings) for cell in cells}
        sample = 0
        first = self._answer.held_out.first
        if evaluation is not None and first is not None:
            per_sequence = evaluation.shape[1] * vocabulary(facts.config) * 4
            sample = max(1, min(_SAMPLE_SEQUENCES, first.samples, _SAMPLE_BYTES // per_sequence))
        room = fit(job, cells, facts, base.device.type, self._reporter)
        passes = open_passes(
            job.output,
            key=key,
            keys={cell.id: keys[cell.id] for cell in cells},
            room={
                cell_id: len(facts.tensors) + len(facts.copied) + _MOST_PARTS * len(named)
                for cell_id, named in layers.items()
            },
            device=base.device.type,
            reporter=self._reporter,
            spill=room.spill,
        )
        for folder in passes:
            works = [_work(cell, facts, layers[cell.id], folder) for cell in cells if cell.id in folder.keys]
            with folder:
                if isinstance(model, LayeredModel):
                    outcome = LayeredPass(model, works, reporter=self._reporter).run()
                else:
                    outcome = SharedPass(
                        model,
                        works,
                        calibration=calibration,
                        evaluation=evaluation,
                        sample=sample,
                        reporter=self._reporter,
                        store=folder,
                        ahead=room.ahead,
                        lanes=room.lanes,
                        given=given,
                    ).run()
                self._leave(works, outcome, folder, model, facts, finished)
            del outcome

    def _leave(
        self,
        works: Sequence[CellWork],
        outcome: PassOutcome,
        folder: PassFolder,
        model: StreamedModel | LayeredModel,
        facts: ModelFacts,
        finished: Finished,
    ) -> None:
        """Finish a pass's cells and put them beside the job, then forget the pass.

        Raises:
            CheckpointError: where the disk takes no more; the pass stays, and another process goes on there.
        """
        from quantize_lib.checkpoint.shards import write_tensors

        if outcome.base_logits is not None and not finished.sample:
            finished.sample = outcome.base_logits.shape[0]
            write_tensors(finished.logits_file, [("logits", outcome.base_logits)], count=1)
        for work in works:
            cell = outcome.cells[work.id]
            result: CellResult
            if cell.error is not None:
                result, means = FailedCell.of(cell.error), None
            else:
                result = self._finish(work, cell, model, folder, facts, len(works), outcome)
                means = _sample_means(cell, finished.sample)
            finished.add(work.id, folder.keys[work.id], result, means)
            finished.save()
        finished.shared_seconds += outcome.shared_seconds
        finished.peak_memory_bytes = max(
            finished.peak_memory_bytes, folder.peak_memory_bytes, peak_memory(self._answer.device)
        )
        finished.save()
        shutil.rmtree(folder.folder)

    def _finish(
        self,
        work: CellWork,
        cell: CellOutcome,
        model: StreamedModel | LayeredModel,
        pass_folder: PassFolder,
        facts: ModelFacts,
        sharers: int,
        outcome: PassOutcome,
    ) -> QuantizedCell:
        from quantize_lib.architecture.group_sizes import resolve_group_size
        from quantize_lib.source import side_files

        folder, code = pass_folder.folder / work.id, self._job.model.trust_remote_code
        group_size = resolve_group_size(facts, work.settings)
        context = CheckpointContext(
            method=work.method,
            settings=work.settings,
            grid=work.grid,
            group_size=group_size,
            blocks=model.blocks,
            quantized=work.layers,
            outside=model.outside_linears(),
            dtype=str(model.disk_dtype).removeprefix("torch."),
            traits=traits_of(facts, work.settings),
            model=self._job.model.name,
            types=work.types,
            **_names(model, facts, work.layers),
        )
        pass_folder.writers[work.id].finish()
        assemble(
            folder,
            base=self._base,
            config=written_config(
                facts.config,
                dtype=context.dtype,
                model_class=model.class_name,
                one_dtype=work.format.one_dtype,
            ),
            quantization_config=work.format.quantization_config(context),
            side_files=side_files(self._base, code=code),
            code=code,
        )
        work.format.complete(folder, self._base, context)
        figures, texts = self._answer.held_out.figures(cell.tokens, outcome.base_tokens)
        result = QuantizedCell(
            group_size=group_size
            if GROUP_SIZE in work.method.settings and not is_automatic(work.settings)
            else None,
            format=work.format.name,
            seconds=cell.seconds + outcome.shared_seconds / sharers,
            size_after=weight_bytes(folder),
            versions=self._answer.versions,
            notes=(*facts.notes, *cell.notes, *left_out(facts, work.settings)),
            layers=work.layers if is_automatic(work.settings) and not work.types else {},
            types=work.types if is_automatic(work.settings) else {},
            errors=cell.errors,
            figures=figures,
            texts=texts,
        )
        target = self._job.output / work.id
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
        return result


def _names(
    model: StreamedModel | LayeredModel, facts: ModelFacts, quantized: Collection[str]
) -> dict[str, Any]:
    """What a checkpoint's context says of layers by name: see `CheckpointContext`."""
    modules = {layer.name: model.module_of(layer) or layer.name for layer in facts.layers}
    replaced = {modules[name] for name in quantized}
    on_disk = [layer.name for layer in facts.layers if layer.name not in quantized]
    linears = [name for name in model.inside_linears() if name not in replaced]
    kept = [modules[name] for name in on_disk if modules[name] not in replaced]
    return {
        "kept": tuple(dict.fromkeys([*kept, *linears, *on_disk, *model.on_disk(linears)])),
        "modules": {name: modules[name] for name in quantized if modules[name] != name},
        "experts": frozenset(layer.name for layer in facts.layers if layer.of_expert) & set(quantized),
    }


def _layers(facts: ModelFacts, settings: Settings) -> dict[str, tuple[int, int]]:
    from quantize_lib.architecture.group_sizes import resolved_layers

    return {layer.name: (bits, size) for layer, bits, size in resolved_layers(facts, settings)}


def _work(
    cell: JobCell, facts: ModelFacts, layers: Mapping[str, tuple[int, int]], folder: PassFolder
) -> CellWork:
    from quantize_lib.engine.cell_work import CellWork

    return CellWork(
        id=cell.id,
        settings=cell.settings,
        method=get_method(cell.settings.method),
        format=format_of(facts, cell.settings),
        layers=layers,
        sink=folder.writers[cell.id],
        types=stored_types(facts, cell.settings),
    )


def _sample_means(cell: CellOutcome, sample: int) -> dict[str, float] | None:
    """The means on the sample that the reload has to reproduce; None without held-out text."""
    means = {
        name: metric.mean(cell.tokens[name][:sample])
        for name, metric in COMPARED.items()
        if name in cell.tokens
    }
    return means or None
