"""The limit `no_worse_than: published`: a checkpoint beside the one that its repository holds.

Both were measured on the same tokens, so their differences are taken sequence by sequence (paired): what
makes a sequence hard for both falls out.
"""

from __future__ import annotations

from collections.abc import Iterator

from quantize_lib.job.records import TextRecord
from quantize_lib.metrics import MEANS, NO_WORSE_THAN, Figure, MeanMetric, Outcome, Verdict, number
from quantize_lib.metrics.figure import paired
from quantize_lib.report.records import Measurements, PublishedBefore

_ORDER = (Outcome.MET, Outcome.MET_WITHIN_ERROR, Outcome.MISSED)
_GIVE = f"measure on the same text, or leave {NO_WORSE_THAN} out for one publication"


def compare(new: Measurements, before: PublishedBefore) -> Verdict:
    """How a checkpoint is beside the one that was published before.

    It is compared by the mean of every metric that compares with the base model, on each text. It is worse
    where one of these is, by more than the standard error of the mean difference: two checkpoints that are
    equally good differ by about that.

    Args:
        before: what is published; a first publication meets the limit.
    """
    if before.fault is not None:
        return _verdict(Outcome.MISSED, f"what is published cannot be looked at: {before.fault}")
    if not before.asked:
        return _verdict(Outcome.MET, "it is compared with what is published when it is to be published")
    old = before.measurements
    if old is None:
        return _verdict(Outcome.MET, "nothing was published before that it could be worse than")
    found = list(_compared(new, old))
    worst = max((outcome for outcome, _ in found), key=_ORDER.index, default=Outcome.MISSED)
    texts = [text for outcome, text in found if outcome is worst]
    return _verdict(worst, "; ".join(texts) or "there are no figures to compare with what is published")


def _compared(new: Measurements, old: Measurements) -> Iterator[tuple[Outcome, str]]:
    """Every text by every metric, each with a sentence."""
    for name, now, then in _texts(new, old):
        place = f"on {name}: " if name else ""
        if now is None or then is None or now.tokens_digest != then.tokens_digest:
            yield Outcome.MISSED, f"{place}the version published before was measured on other text; {_GIVE}"
            continue
        for metric in MEANS.values():
            if metric.compares:
                outcome, text = _one(metric, new.figure(metric, name), old.figure(metric, name))
                yield outcome, f"{place}{text}"


def _texts(
    new: Measurements, old: Measurements
) -> Iterator[tuple[str, TextRecord | None, TextRecord | None]]:
    """The texts of the checkpoint, each with the published one's of that name."""
    yield "", new.evaluation, old.evaluation
    for name, one in new.texts.items():
        # A text that is new has nothing to be compared with yet.
        if name in old.texts:
            yield name, one.text, old.texts[name].text


def _one(metric: MeanMetric, new: Figure, old: Figure) -> tuple[Outcome, str]:
    if new.after is None or not new.sequence_means:
        return Outcome.MISSED, f"the {metric.title} was not measured, and {NO_WORSE_THAN} is set"
    apart = paired(new, old)
    if apart is None:
        return Outcome.MISSED, f"the version published before has no {metric.title} by sequence; {_GIVE}"
    difference, error = apart
    worse = -difference if metric.more_is_better else difference
    text = f"{metric.title} is {number(new.after)}, that of the version published before {number(old.after)}"
    if worse <= 0:
        return Outcome.MET, f"{text}: no worse"
    text += f", worse by {number(worse)} ± {number(error)} (paired)"
    return (Outcome.MET_WITHIN_ERROR if worse <= error else Outcome.MISSED), text


def _verdict(outcome: Outcome, text: str) -> Verdict:
    return Verdict(key=NO_WORSE_THAN, outcome=outcome, text=text)
