"""A job for a shard: the statistics of one part of the calibration text, which another job adds up."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.architecture.assignment import assign
from quantize_lib.architecture.language_model import vocabulary
from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.files import sha256_json
from quantize_lib.job.job_file import JobFile, JobShard
from quantize_lib.job.layout import STATISTICS
from quantize_lib.job.statistics_record import StatisticsRecord, StatisticsSource, write_record
from quantize_lib.process_memory import peak_memory
from quantize_lib.reporting import Reporter
from quantize_lib.sizing import batch_size
from quantize_lib.source.facts import ModelFacts
from quantize_lib.text import format_bytes
from quantize_lib.worker.answer import Answer
from quantize_lib.worker.base_model import build_model, open_base
from quantize_lib.worker.job_memory import fit_shard
from quantize_lib.worker.job_text import load_tokens
from quantize_lib.worker.resume import open_passes, pass_key
from quantize_lib.worker.statistics_files import described, source_of

if TYPE_CHECKING:
    from quantize_lib.worker.pass_store import PassFolder

_TENSORS = 3
"""Of each input, as they are stored."""
_FILE_TENSORS = 1000
"""In a file: its header is read again and again, and experts have thousands of tensors."""


def make_shard(job: JobFile, shard: JobShard, base_folder: Path, reporter: Reporter, answer: Answer) -> None:
    """Make a shard's statistics, from where an earlier process was killed; they lie in `statistics`.

    Args:
        base_folder: the base model's own folder.

    Raises:
        QuantizerError: where that cannot be done.
    """
    from quantize_lib.engine.model import StreamedModel
    from quantize_lib.engine.statistics_pass import StatisticsPass

    base = open_base(job, base_folder, answer, reporter)
    assert job.calibration is not None
    ids, answer.calibration = load_tokens(
        job.calibration,
        base.tokenizer,
        rows=vocabulary(base.facts.config),
        word="calibration",
        reporter=reporter,
    )
    rows = rows_of(shard, len(ids), batch_size(base.device.type, ids.shape[1]))
    key = pass_key(job, answer)
    model, facts = build_model(job, base, ids, key, reporter)
    if not isinstance(model, StreamedModel):
        raise SourceError(f"{job.model.name} is calibrated by no method: it has no statistics")
    source = source_of(job, answer, model)
    layers = _layers(job, facts)
    room = fit_shard(job, len(rows), facts, base.device.type, reporter)
    reporter.info(f"{job.id}: shard {shard.number} of {shard.count} has {len(rows)} of {len(ids)} sequences")
    (folder,) = open_passes(
        job.output,
        key=sha256_json([key, asdict(source), shard.number, shard.count]),
        keys={STATISTICS: sha256_json(sorted(layers))},
        room={STATISTICS: min(_TENSORS * len(layers), _FILE_TENSORS)},
        device=base.device.type,
        reporter=reporter,
        spill=room.spill,
    )
    with folder:
        StatisticsPass(
            model,
            ids[rows.start : rows.stop],
            layers=layers,
            sink=folder.writers[STATISTICS],
            store=folder,
            name=STATISTICS,
            reporter=reporter,
        ).run()
        answer.peak_memory_bytes = max(folder.peak_memory_bytes, peak_memory(base.device.type))
        _leave(job, shard, source, folder, reporter)


def rows_of(shard: JobShard, sequences: int, batch: int) -> range:
    """The sequences of a shard: as many batches as any other has, or one more.

    So what is summed up of each batch is what one job sums up of it. Where there are fewer batches than
    shards, these share single sequences.

    Args:
        batch: sequences that go through a block at once in one job.

    Raises:
        CalibrationError: where there are more shards than sequences.
    """
    if shard.count > sequences:
        raise CalibrationError(
            f"there are {sequences} sequences of calibration text, which {shard.count} shards cannot share",
            hint=f"Take at most {sequences} shards, or more text.",
        )
    if shard.count > ceil(sequences / batch):
        batch = 1
    batches = ceil(sequences / batch)
    first, behind = (batches * number // shard.count for number in (shard.number - 1, shard.number))
    return range(first * batch, min(behind * batch, sequences))


def _layers(job: JobFile, facts: ModelFacts) -> set[str]:
    """The layers that some cell of the job quantizes, as the job that adds the statistics will want them."""
    found: set[str] = set()
    for cell in job.cells:
        found.update(layer.name for layer, *_ in assign(facts, cell.settings))
    return found


def _leave(
    job: JobFile, shard: JobShard, source: StatisticsSource, folder: PassFolder, reporter: Reporter
) -> None:
    """Complete the files and put them beside the job, then forget the pass."""
    folder.writers[STATISTICS].finish()
    made = folder.folder / STATISTICS
    files = described(made)
    write_record(
        StatisticsRecord(
            folder=made, job=job.id, number=shard.number, count=shard.count, source=source, files=files
        )
    )
    target = job.output / STATISTICS
    if target.exists():
        shutil.rmtree(target)
    made.rename(target)
    shutil.rmtree(folder.folder)
    size = format_bytes(sum(file.size for file in files.values()))
    reporter.info(f"{job.id}: shard {shard.number} of {shard.count} is made: {size} of statistics")
