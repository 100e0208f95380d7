"""Whether a model's cards will be taken where they are published, found out before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quantize_lib.card import front_matter
from quantize_lib.errors import SourceError
from quantize_lib.host.finish import blank_record
from quantize_lib.plan.cells import Job
from quantize_lib.publish.base import Publisher
from quantize_lib.source.card_rules import doubts, faults, stated
from quantize_lib.source.facts import ModelFacts, ModelSource
from quantize_lib.targets import PublishSpec, get_target
from quantize_lib.wording import show

_HINT = (
    "Correct the base model's card, or say what is meant under publish.card in the manifest "
    "(license, license_name, license_link, language)."
)


def card_warnings(job: Job, facts: ModelFacts, publish: PublishSpec) -> Iterator[str]:
    """What to know of a model's cards before they are written."""
    fields = stated(facts.card, publish.card)
    for fault in faults(fields):
        yield f"{job.model.id}: its card's `{fault.key}`: {fault.message}; the Hub would refuse it"
    for doubt in doubts(fields):
        yield f"{job.model.id}: {doubt}"
    given, own = publish.card.get("license"), facts.card.get("license")
    if given is not None and own is not None and given != own:
        yield (
            f"{job.model.id}: publish.card.license says {show(given)}, the base model's card {show(own)}; "
            "the cards will say the former"
        )


def check_cards(job: Job, facts: ModelFacts, publish: PublishSpec, publisher: Publisher | None) -> None:
    """Refuse a model whose cards the target is sure not to take.

    Args:
        publisher: asks the target itself; without one only what is known of it is looked at.

    Raises:
        SourceError: naming each key that is wrong.
    """
    if not get_target(publish.to).checks_cards:
        return
    found = [f"`{fault.key}`: {fault.message}" for fault in faults(stated(facts.card, publish.card))]
    if found:
        raise SourceError(
            f"{job.model.id}: the Hub will not take a card that says what the base model's does: "
            + "; ".join(found),
            hint=_HINT,
        )
    if publisher is None:
        return
    # The cells of a job differ in tags that are the tool's own.
    record = blank_record(job.cells[0], job, None)
    source = ModelSource(folder=job.model.local or Path(), facts=facts, card=facts.card)
    refusal = publisher.refusal(front_matter(record, source, job.model, publish.card))
    if refusal is not None:
        known = "".join(f"{doubt}. " for doubt in doubts(stated(facts.card, publish.card)))
        raise SourceError(
            f"{job.model.id}: the Hub does not take the card that it would get: {refusal}",
            hint=known[:1].upper() + known[1:] + _HINT,
        )
