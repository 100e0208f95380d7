"""Tries the tokenizers of a plan's models before anything large is downloaded: each once, several at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quantize_lib.architecture.language_model import positions, vocabulary
from quantize_lib.calibration.chat_template import no_template
from quantize_lib.calibration.conversations import Conversation
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import BUILT_IN
from quantize_lib.devices import DeviceName
from quantize_lib.errors import CalibrationError, SourceError
from quantize_lib.job.job_file import DEFAULT_PROMPT, NEW_TOKENS
from quantize_lib.parallel import in_parallel
from quantize_lib.plan.cells import Job
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.tokenizer_files import tokenizer_digests, tokenizer_folder
from quantize_lib.tokenizer.ask import ask, can_ask
from quantize_lib.tokenizer.examine import Room
from quantize_lib.tokenizer.question import Answer, AskedText, Question
from quantize_lib.wording import joined, show

if TYPE_CHECKING:
    from quantize_lib.host.lookups import Lookups

_AT_ONCE = max(1, min(4, os.cpu_count() or 1))
"""Each takes a core and some 200 MB."""
_NAMED_FILES = 3
_NO_ANSWER = "the container did not try the tokenizer before the download; the quantizing process does it"
_NOT_HERE = "tokenizers are not tried here, as transformers is not installed: the quantizing process does it"


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A tokenizer to try.

    Attributes:
        specs, texts: the same ones, as the manifest names them and as they are asked for.
    """

    model: ModelSpec
    facts: ModelFacts
    device: DeviceName
    specs: tuple[TextSpec, ...]
    texts: tuple[AskedText, ...]


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """What is known of a tokenizer: an answer, an error, or why it was not tried.

    Attributes:
        specs: the texts that were asked for, in the order of the answer's.
    """

    specs: tuple[TextSpec, ...]
    found: Answer | Exception | str

    def covers(self, specs: tuple[TextSpec, ...]) -> bool:
        """Whether these texts were asked for."""
        return set(specs) <= set(self.specs)


TryTokenizer = Callable[[Question, DeviceName, Reporter], Answer | None]
"""Tries a tokenizer for a job on a device where this process has no library that loads it; None where that
gave no answer."""


class Tokenizers:
    """Remembers every answer for the length of a run.

    Not for several threads: `look_up` brings its own.

    Attributes:
        elsewhere: where tokenizers are tried that cannot be tried here; None where there is no such place.
    """

    def __init__(self, lookups: Lookups, reporter: Reporter) -> None:
        self._lookups = lookups
        self._reporter = reporter
        self._tried: dict[ModelSpec, _Tried] = {}
        self._told: set[str] = set()
        self.elsewhere: TryTokenizer | None = None

    def look_up(self, jobs: Iterable[Job]) -> None:
        """Try, at once, the tokenizers of these jobs that were not tried with their texts yet.

        Jobs whose model or text cannot be looked at are left out: whoever asks for those meets the error.
        """
        asked: dict[ModelSpec, dict[TextSpec, None]] = {}
        devices: dict[ModelSpec, DeviceName] = {}
        for job in jobs:
            key, specs = _key(job.model), _specs(job)
            known = self._tried.get(key)
            if known is None or not known.covers(specs) or (self.elsewhere and known.found == _NOT_HERE):
                devices.setdefault(key, job.device)
                asked.setdefault(key, {}).update(dict.fromkeys(specs))
        work: list[_Work] = []
        for key, wanted in asked.items():
            try:
                facts = self._lookups.facts(key)
                texts = tuple(self._asked(spec) for spec in wanted)
            except Exception:  # noqa: BLE001
                continue
            work.append(_Work(model=key, facts=facts, device=devices[key], specs=tuple(wanted), texts=texts))
        # A container is ended from this thread alone, where a signal comes.
        found = in_parallel(self._try, work, at_once=_AT_ONCE if can_ask() else 1)
        for one, answer in zip(work, found, strict=True):
            self._tried[one.model] = _Tried(specs=one.specs, found=answer)
            self._tell(one.model, answer)

    def check(self, job: Job) -> tuple[str, ...]:
        """What a user should know of a job's tokenizer, a sentence each without a full stop.

        Raises:
            SourceError: where it cannot be used.
            CalibrationError: where it and the job's texts do not fit the model.
        """
        self._lookups.facts(job.model)
        for spec in _specs(job):
            self._asked(spec)
        # What could be left out is raised by now.
        self.look_up([job])
        tried = self._tried[_key(job.model)]
        found = tried.found
        if isinstance(found, str):
            return ()
        if isinstance(found, Exception):
            raise found
        if found.error is not None:
            raise SourceError(f"{job.model.id}: {found.error.message}", hint=found.error.hint)
        for spec, error in zip(tried.specs, found.texts, strict=True):
            if error is not None and spec in _specs(job):
                word = "calibration" if spec in job.calibration.sources else "evaluation"
                raise CalibrationError(
                    f"{job.model.id}: {word} ({_named(spec)}): {error.message}", hint=error.hint
                )
        return found.notes

    def has_template(self, job: Job) -> bool | None:
        """Whether a job's tokenizer, tried by `check`, has a chat template; None where that is not known."""
        tried = self._tried.get(_key(job.model))
        return tried.found.chat_template if tried and isinstance(tried.found, Answer) else None

    def check_conversations(self, job: Job, spec: TextSpec) -> None:
        """Refuse conversations of a text that was read after `check`, where there is no chat template.

        Raises:
            CalibrationError: naming the first.
        """
        documents = self._lookups.texts(spec).texts
        first = next((one for one in documents if isinstance(one, Conversation)), None)
        if first is not None and self.has_template(job) is False:
            error = no_template(first)
            raise CalibrationError(f"{job.model.id}: {error.message}", hint=error.hint)

    def _asked(self, spec: TextSpec) -> AskedText:
        # A data set is read when the run needs it: its text is not for a plan to fetch.
        return AskedText(
            texts=self._lookups.texts(spec).texts if spec.dataset is None else None,
            samples=spec.samples,
            sequence_length=spec.sequence_length,
            seed=spec.seed,
            allow_short=spec.allow_short,
            chat_template_kwargs=dict(spec.chat_template_kwargs),
        )

    def _try(self, work: _Work) -> Answer | Exception | str:
        """The answer; an error, which is raised to the job that asks; or why it was not tried."""
        model, facts, here = work.model, work.facts, can_ask()
        if not here and self.elsewhere is None:
            return _NOT_HERE
        if model.trust_remote_code:
            return (
                f"{model.id}: the tokenizer is not tried here, as it may be code of the model's author: the "
                "container does it"
            )
        try:
            room = Room(
                rows=vocabulary(facts.config),
                positions=positions(facts.config, facts.tensors),
                prompt=DEFAULT_PROMPT,
                new_tokens=NEW_TOKENS,
            )
            digests = tokenizer_digests(model, facts)
            folder = tokenizer_folder(model, facts)
            if folder is None:
                return f"{model.id}: the tokenizer is not tried before the download, as its files are large"
            question = Question(folder=folder, room=room, texts=work.texts)
            if here or self.elsewhere is None:
                return ask(question, digests)
            answer = self.elsewhere(question, work.device, self._reporter)
            return answer or f"{model.id}: {_NO_ANSWER}"
        except Exception as error:  # noqa: BLE001
            return error

    def _tell(self, model: ModelSpec, found: Answer | Exception | str) -> None:
        if isinstance(found, str):
            lines, say = [found], self._reporter.info
        elif isinstance(found, Answer):
            lines, say = [f"{model.id}: {note}" for note in found.notes], self._reporter.warning
        else:
            return
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                say(line)


def _specs(job: Job) -> tuple[TextSpec, ...]:
    """The texts that the job has to make tokens of."""
    given = (job.evaluate.held_out, *job.evaluate.texts.values(), job.evaluate.conversations)
    return (
        *(job.calibration.sources if job.calibrated else ()),
        *(source for text in given if text is not None and not text.optional for source in text.sources),
    )


def _key(model: ModelSpec) -> ModelSpec:
    return replace(model, name="")


def _named(spec: TextSpec) -> str:
    if spec.dataset is not None:
        return show(spec.dataset)
    if not spec.files:
        return BUILT_IN if spec.built_in else "texts"
    more = [f"{len(spec.files) - _NAMED_FILES} more"] if len(spec.files) > _NAMED_FILES else []
    return joined([*(show(file.name) for file in spec.files[:_NAMED_FILES]), *more])
