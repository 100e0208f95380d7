"""How to load a checkpoint: snippets that run as they stand."""

from __future__ import annotations

from dataclasses import dataclass

from quantize_lib.architecture.assignment import traits_of
from quantize_lib.card.escape import Safe
from quantize_lib.formats import get_format
from quantize_lib.formats.usage import Usage
from quantize_lib.methods import get_method
from quantize_lib.plan.cells import Cell
from quantize_lib.report.records import CellRecord
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.tasks import task_of


@dataclass(frozen=True, kw_only=True)
class Snippets:
    """What to type.

    Attributes:
        install: shell lines.
        python: loads the model and uses it.
        loader: which library the snippet loads through.
        vllm, sglang: a shell line; "" where they do not serve such a checkpoint.
        others: further programs, each a link with a shell line.
    """

    install: str
    python: str
    loader: str
    vllm: str
    sglang: str
    others: tuple[tuple[Safe, str], ...] = ()


def snippets(record: CellRecord, cell: Cell, facts: ModelFacts, *, model: ModelSpec, prompt: str) -> Snippets:
    """The snippets for one checkpoint.

    Args:
        facts: of the base model.
        model: that it is.
    """
    chosen, method = get_format(record.format).of(cell.settings), get_method(record.method)
    use = Usage(
        repository=cell.repository,
        prompt=prompt,
        task=task_of(facts.config),
        settings=cell.settings,
        bits=record.bits,
        symmetric=chosen.grid(method, cell.settings).symmetric,
        group_size=record.settings.get("group_size"),
        versions=record.versions,
        traits=traits_of(facts, cell.settings),
        model=model.name,
        part=cell.part,
    )
    others = tuple((Safe(link), line) for link, line in chosen.also_loaded(use))
    return Snippets(**chosen.usage(use), others=others)
