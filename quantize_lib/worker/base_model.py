"""The base model of a job as its process opens it, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.devices import choose_device
from quantize_lib.job.job_file import JobFile
from quantize_lib.job.layout import PASSES
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.foreign_code import brings_class
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.tasks import task_of
from quantize_lib.worker.answer import Answer
from quantize_lib.worker.job_text import open_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from quantize_lib.engine.layered_model import LayeredModel
    from quantize_lib.engine.model import StreamedModel

_PROOF_FILE = "proof.pt"


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """What is known of it from its files.

    Attributes:
        facts: from config and headers, with what tokenizer and class have to say.
        tokenizer: tried.
        device: where it is computed.
    """

    facts: ModelFacts
    tokenizer: Any
    device: torch.device


def open_base(job: JobFile, base: Path, answer: Answer, reporter: Reporter) -> BaseModel:
    """Read config, headers and tokenizer.

    Args:
        job: with the base model as libraries are to see it.
        base: the base model's own folder.
        answer: gets the device.

    Raises:
        SourceError: where they cannot be used.
        UsageError: where the device is not there.
    """
    from quantize_lib.engine.base_config import load_config
    from quantize_lib.engine.tied_head import settle_head
    from quantize_lib.source import read_facts

    device = choose_device(job.device)
    answer.device = device.type
    trusted = job.model.trust_remote_code
    spec = ModelSpec(
        id=job.model.name,
        name=job.model.name,
        local=base,
        trust_remote_code=trusted,
        allow_quantized_base=job.model.allow_quantized_base,
    )
    facts = read_facts(spec, base, revision=job.model.revision)
    if task_of(facts.config).continues and not brings_class(facts.config, trusted=trusted):
        facts = settle_head(base, facts)
    tell(job, facts.notes, reporter)
    # Its tokenizer reads it as well: what is wrong is told of the config.
    load_config(job.model.path, trust_remote_code=trusted)
    tokenizer, notes = open_tokenizer(job, facts, reporter)
    return BaseModel(facts=replace(facts, notes=(*facts.notes, *notes)), tokenizer=tokenizer, device=device)


def tell(job: JobFile, notes: Iterable[str], reporter: Reporter) -> None:
    """What the host does not know of the base model."""
    for note in notes:
        if note not in job.told:
            reporter.warning(f"{job.model.name}: {note}")


def build_model(
    job: JobFile, base: BaseModel, text: Tensor | None, key: str, reporter: Reporter
) -> tuple[StreamedModel | LayeredModel, ModelFacts]:
    """The model without weights, and the facts with what only its class shows.

    Args:
        text: token ids on which the way through the blocks is proven; None where nothing goes through them.
        key: digest of what the proof depends on; it is kept for a process that goes on from here.

    Raises:
        SourceError: where the model cannot be built or walked.
    """
    from quantize_lib.engine.layered_model import LayeredModel
    from quantize_lib.engine.model import StreamedModel
    from quantize_lib.engine.proof_file import ProofFile
    from quantize_lib.engine.walk_check import usable

    facts, path = base.facts, job.model.path
    task, trusted = task_of(facts.config), job.model.trust_remote_code
    model: StreamedModel | LayeredModel
    if task.continues:
        model = StreamedModel(path, facts, device=base.device, trust_remote_code=trusted)
    else:
        model = LayeredModel(path, facts, task=task, trust_remote_code=trusted)
        facts = replace(facts, layers=model.layers)
    facts = replace(facts, notes=(*facts.notes, *model.notes))
    if isinstance(model, StreamedModel):
        model.check_agreement()
        proof = ProofFile(path=job.output / PASSES / _PROOF_FILE, key=key)
        facts = usable(model, facts, text, proof)
    tell(job, facts.notes, reporter)
    return model, facts
