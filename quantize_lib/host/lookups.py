"""What the models and texts of a run are at: each is looked at once, whoever asks how often."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from quantize_lib.calibration.datasets import dataset_commit
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import Texts, collect_texts, mixed, mixed_revision
from quantize_lib.host.tokenizers import Tokenizers
from quantize_lib.methods import get_method
from quantize_lib.parallel import in_parallel
from quantize_lib.plan.cells import Cell, Job
from quantize_lib.plan.fingerprint import fingerprint, fingerprinted, inputs
from quantize_lib.reporting import Reporter
from quantize_lib.source import Resolved, card_of, inspect, read_facts, resolve
from quantize_lib.source.base_card import BaseCard
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.other_build import OtherBuild, find_build
from quantize_lib.wording import show

_T = TypeVar("_T")
_ModelKey = ModelSpec | tuple[str, str]
_DatasetKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What determines a cell, found out without building it.

    Attributes:
        model: the base model at its revision.
        fingerprint: of the cell.
        inputs: what it is made of.
        fingerprinted: what it is the digest of.
    """

    model: Resolved
    fingerprint: str
    inputs: dict[str, str]
    fingerprinted: dict[str, Any] = field(default_factory=dict)


class Lookups:
    """Remembers every answer for the length of a run, so that all cells see one commit; errors as well.

    Not for several threads: `look_up` brings its own.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._models: dict[_ModelKey, Resolved | Exception] = {}
        self._datasets: dict[_DatasetKey, str | Exception] = {}
        self._texts: dict[TextSpec, Texts | Exception] = {}
        self._facts: dict[ModelSpec, ModelFacts | Exception] = {}
        self._builds: dict[tuple[ModelSpec, ModelSpec], OtherBuild | Exception] = {}
        self._cards: dict[_ModelKey, BaseCard | Exception] = {}
        self.tokenizers = Tokenizers(self, reporter)

    def look_up(self, jobs: Iterable[Job]) -> None:
        """Ask the Hub, at once, for all that the identities of these jobs need and that is not known."""
        jobs = tuple(jobs)
        calibrations = [job.calibration for job in jobs if job.calibrated]
        models = {_model_key(job.model): job.model for job in jobs if job.model.local is None}
        datasets = {
            (text.dataset, text.revision)
            for calibration in calibrations
            for text in calibration.sources
            if text.dataset is not None
        }
        asked: list[Callable[[], None]] = [
            lambda model=model: self._resolve(model)  # type: ignore[misc]
            for key, model in models.items()
            if key not in self._models
        ]
        asked += [
            lambda key=key: self._commit(key)  # type: ignore[misc]
            for key in datasets
            if key not in self._datasets
        ]
        in_parallel(lambda question: question(), asked)

    def model(self, model: ModelSpec) -> Resolved:
        """A base model at its revision.

        Raises:
            SourceError: as `source.resolve`.
        """
        self._resolve(model)
        return _answer(self._models[_model_key(model)])

    def facts(self, model: ModelSpec) -> ModelFacts:
        """A base model's config and headers.

        A local folder is not hashed for them, so its `revision` is empty: that takes longer than the rest.

        Raises:
            SourceError: where it cannot be used.
        """
        key = replace(model, name="")
        if key not in self._facts:
            self._facts[key] = _ask(
                lambda: (
                    inspect(model, token=None, resolved=self.model(model))
                    if model.local is None
                    else read_facts(model, model.local, revision="")
                )
            )
            found = self._facts[key]
            if isinstance(found, ModelFacts):
                for note in found.notes:
                    self._reporter.warning(f"{model.id}: {note}")
        return _answer(self._facts[key])

    def card(self, model: ModelSpec) -> BaseCard:
        """A base model's card.

        Raises:
            SourceError: where it cannot be read.
        """
        key = _model_key(model)
        if key not in self._cards:
            self._cards[key] = _ask(lambda: card_of(model, self.model(model), token=None))
        return _answer(self._cards[key])

    def builds(self, job: Job) -> tuple[OtherBuild, ...]:
        """The other builds that a job's checkpoints are compared with.

        Raises:
            SourceError: where one cannot be used, or is none of the job's base model.
        """
        base, found = job.model, []
        for spec in job.evaluate.compare_with:
            key = (spec, replace(base, name=""))
            if key not in self._builds:
                self._builds[key] = _ask(partial(self._build, spec, base))
            found.append(_answer(self._builds[key]))
        return tuple(found)

    def _build(self, spec: ModelSpec, base: ModelSpec) -> OtherBuild:
        return find_build(spec, self.facts(base).config, base_id=base.id)

    def text_revision(self, text: TextSpec) -> str:
        """The commit of a data set, the hash of files and texts, or that of a mix's revisions.

        Raises:
            CalibrationError: where it cannot be looked at.
        """
        if text.mix:
            return mixed_revision(map(self.text_revision, text.mix))
        if text.dataset is None:
            return self.texts(text).revision
        key = (text.dataset, text.revision)
        self._commit(key)
        return _answer(self._datasets[key])

    def texts(self, text: TextSpec) -> Texts:
        """The documents, of a data set at the commit that `text_revision` gives.

        Raises:
            CalibrationError: where they cannot be read.
        """
        if text.mix:
            return mixed(text, [self.texts(source) for source in text.mix])
        if text not in self._texts:
            commit = None if text.dataset is None else self.text_revision(text)
            found = self._texts[text] = _ask(lambda: collect_texts(text, token=None, commit=commit))
            for note in found.notes if isinstance(found, Texts) else ():
                self._reporter.warning(note)
        return _answer(self._texts[text])

    def identity(self, cell: Cell, job: Job) -> Identity:
        """What determines a cell.

        Raises:
            SourceError, CalibrationError: where its model or its calibration text cannot be looked at.
        """
        model = self.model(job.model)
        calibrated = get_method(cell.settings.method).calibrated
        revisions = {
            "model_revision": model.revision,
            "calibration_revision": self.text_revision(job.calibration) if calibrated else "",
        }
        return Identity(
            model=model,
            fingerprint=fingerprint(cell, job, **revisions),
            inputs=inputs(cell, job, **revisions),
            fingerprinted=fingerprinted(cell, job, **revisions),
        )

    def _resolve(self, model: ModelSpec) -> None:
        key = _model_key(model)
        if key in self._models:
            return
        found = _ask(lambda: resolve(model, token=None, reporter=self._reporter))
        if isinstance(found, Resolved) and found.name != model.id:
            self._reporter.warning(
                f"{model.id} is called {show(found.name)} on the Hub now; write that in the manifest"
            )
        self._models[key] = found

    def _commit(self, key: _DatasetKey) -> None:
        if key not in self._datasets:
            dataset, revision = key
            self._datasets[key] = _ask(lambda: dataset_commit(dataset, revision, token=None))


def _model_key(model: ModelSpec) -> _ModelKey:
    # What a local folder's hash covers depends on what the manifest allows of it.
    return (model.id, model.revision) if model.local is None else replace(model, name="")


def _ask(question: Callable[[], _T]) -> _T | Exception:
    """The answer, or the error, which is raised to whoever asks for the answer."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001
        return error


def _answer(found: _T | Exception) -> _T:
    if isinstance(found, Exception):
        raise found
    return found
