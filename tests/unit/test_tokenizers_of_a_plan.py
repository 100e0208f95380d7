"""When tokenizers are tried for a plan, and whose cells what was found concerns."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.architecture.language_model import positions
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import CalibrationError, QuantizerError, SourceError, UsageError
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.prepare import look
from quantize_lib.manifest import parse_manifest
from quantize_lib.plan.cells import Job, Plan
from quantize_lib.source.facts import ModelFacts
from quantize_lib.tokenizer.question import Answer, Question
from tests.support.model_files import LLAMA, write_model

GPTQ = {"method": "gptq", "bits": 4}
BNB = {"method": "bitsandbytes", "bits": 8}


def plan(folder: Path, *models: dict[str, Any], **more: Any) -> Plan:
    """A plan of local models; `calib.txt` is their text."""
    (folder / "calib.txt").write_text("some text")
    for model in models:
        write_model(folder / model["id"])
    words = {
        "version": 1,
        "defaults": {"calibration": {"files": ["calib.txt"], "sequence_length": 8}},
        "models": [{"quantize": [GPTQ], **model} for model in models],
        **more,
    }
    return parse_manifest(json.dumps(words), path=folder / "quantize.yml")


class Probe:
    """Stands for the process: answers as a test says, and remembers the questions."""

    def __init__(self, answer: Callable[[Question], Answer]) -> None:
        self.asked: list[Question] = []
        self._answer = answer

    def __call__(self, question: Question, digests: dict[str, str]) -> Answer:
        assert {"config.json", "tokenizer.json"} == set(digests)
        self.asked.append(question)
        return self._answer(question)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Question], Answer]], Probe]:
    def make(answer: Callable[[Question], Answer]) -> Probe:
        made = Probe(answer)
        monkeypatch.setattr("quantize_lib.host.tokenizers.can_ask", lambda: True)
        monkeypatch.setattr("quantize_lib.host.tokenizers.ask", made)
        return made

    return make


def look_at(whole: Plan) -> tuple[list[ModelFacts | QuantizerError], str]:
    """Every job's facts or error, and what was said."""
    said = io.StringIO()
    lookups = Lookups(PlainReporter(said))
    lookups.tokenizers.look_up(whole.jobs)

    def one(job: Job) -> ModelFacts | QuantizerError:
        try:
            return look(job, lookups).facts
        except QuantizerError as error:
            return error

    return [one(job) for job in whole.jobs], said.getvalue()


def fine(question: Question, *notes: str) -> Answer:
    return Answer(notes=notes, texts=(None,) * len(question.texts))


def test_a_tokenizer_that_cannot_be_used_fails_its_own_job_alone(tmp_path: Path, probe: Any) -> None:
    bad = Answer(error=SourceError("the tokenizer gives no tokens", hint="Add one."))
    probe(lambda question: bad if question.folder.name == "bad" else fine(question))
    (first, second), _ = look_at(plan(tmp_path, {"id": "./bad"}, {"id": "./good"}))
    assert isinstance(first, SourceError)
    assert (first.message, first.hint) == ("./bad: the tokenizer gives no tokens", "Add one.")
    assert isinstance(second, ModelFacts)


def test_a_text_that_does_not_fit_is_named_with_its_file(tmp_path: Path, probe: Any) -> None:
    probe(lambda _: Answer(texts=(CalibrationError("a token is beyond"),)))
    (error,), _ = look_at(plan(tmp_path, {"id": "./m"}))
    assert isinstance(error, CalibrationError)
    assert error.message == "./m: calibration (`calib.txt`): a token is beyond"


def test_a_model_is_tried_once_with_all_its_texts_and_its_notes_are_told_once(
    tmp_path: Path, probe: Any
) -> None:
    process = probe(lambda question: fine(question, "the readings differ"))
    whole = plan(
        tmp_path,
        {"id": "./m", "quantize": [{**BNB, "device": "cuda"}, {**GPTQ, "device": "cpu"}]},
        evaluate={"perplexity": {"texts": ["another text"], "sequence_length": 8}},
    )
    found, said = look_at(whole)
    assert [facts.notes for facts in found if isinstance(facts, ModelFacts)] == [("the readings differ",)] * 2
    assert said == "warning: ./m: the readings differ\n"
    (question,) = process.asked
    assert {text.texts for text in question.texts} == {("some text",), ("another text",)}
    assert question.room.rows == LLAMA["vocab_size"]


def test_only_texts_that_become_tokens_are_asked_for(tmp_path: Path, probe: Any) -> None:
    process = probe(fine)
    look_at(plan(tmp_path, {"id": "./m", "quantize": [BNB]}))
    assert [question.texts for question in process.asked] == [()]


def test_a_text_that_cannot_be_read_fails_the_jobs_that_need_it(tmp_path: Path, probe: Any) -> None:
    probe(fine)
    whole = plan(tmp_path, {"id": "./m"}, {"id": "./other", "quantize": [BNB]})
    (tmp_path / "calib.txt").unlink()
    (first, second), _ = look_at(whole)
    assert isinstance(first, CalibrationError)
    assert isinstance(second, ModelFacts)


def test_code_of_the_models_author_is_not_run_to_try_a_tokenizer(tmp_path: Path, probe: Any) -> None:
    process = probe(fine)
    whole = plan(tmp_path, {"id": "./m"})
    (job,) = whole.jobs
    trusted = replace(job, model=replace(job.model, trust_remote_code=True))
    (facts,), said = look_at(replace(whole, jobs=(trusted,)))
    assert isinstance(facts, ModelFacts)
    assert not process.asked
    assert said.startswith("./m: the tokenizer is not tried here, as it may be code of the model's author")


def test_without_transformers_tokenizers_are_left_to_the_quantizing_process(tmp_path: Path) -> None:
    found, said = look_at(plan(tmp_path, {"id": "./m"}, {"id": "./n"}))
    assert all(isinstance(facts, ModelFacts) for facts in found)
    assert said.count("tokenizers are not tried here") == 1


@pytest.mark.parametrize(
    ("config", "tables", "expected"),
    [
        ({"n_positions": 64}, {"transformer.wpe.weight": (64, 8)}, 64),
        ({}, {"transformer.wpe.weight": (1024, 8)}, 1024),
        ({"max_position_embeddings": 64}, {"model.decoder.embed_positions.weight": (66, 8)}, 64),
        (
            {"max_position_embeddings": 64},
            {"vision_tower.position_embedding.weight": (64, 8)},
            None,
        ),
        ({"max_position_embeddings": 64}, {"model.embed_tokens.weight": (64, 8)}, None),
    ],
)
def test_a_learned_table_of_positions_has_an_end(
    config: dict[str, Any], tables: dict[str, tuple[int, ...]], expected: int | None
) -> None:
    tensors = {
        name: TensorInfo(name=name, dtype="F32", shape=shape, file="model.safetensors")
        for name, shape in tables.items()
    }
    assert positions(config, tensors) == expected


@pytest.mark.parametrize(
    ("more", "key"),
    [
        (
            {"defaults": {"calibration": {"texts": ["x"], "sequence_length": 65}}},
            "calibration.sequence_length",
        ),
        (
            {
                "defaults": {"calibration": {"texts": ["x"], "sequence_length": 64}},
                "evaluate": {"perplexity": {"texts": ["x"], "sequence_length": 65}},
            },
            "evaluate.perplexity.sequence_length",
        ),
    ],
)
def test_sequences_longer_than_the_table_of_positions_are_refused_with_what_fits(
    more: dict[str, Any], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize_lib.host.prepare.positions", lambda *_: 64)
    (error,), _ = look_at(plan(tmp_path, {"id": "./m"}, **more))
    assert isinstance(error, UsageError)
    assert error.message == f"./m: {key} is 65, and the model has 64 positions"
    assert error.hint == "Write `sequence_length: 64` or less in the manifest."


@pytest.mark.parametrize("template", [False, True])
def test_conversations_that_are_read_later_need_a_chat_template_before_the_download(
    template: bool, tmp_path: Path, probe: Any
) -> None:
    probe(lambda question: replace(fine(question), chat_template=template))
    (tmp_path / "chats.jsonl").write_text('{"messages": [{"role": "user", "content": "Hi"}]}')
    chats = {"files": ["chats.jsonl"], "column": "messages"}
    (job,) = plan(tmp_path, {"id": "./m", "calibration": chats}).jobs
    lookups = Lookups(PlainReporter(io.StringIO()))
    look(job, lookups)
    if template:
        lookups.tokenizers.check_conversations(job, job.calibration)
        return
    with pytest.raises(CalibrationError) as caught:
        lookups.tokenizers.check_conversations(job, job.calibration)
    assert caught.value.message == (
        f"./m: {tmp_path / 'chats.jsonl'}:1: column 'messages' is a conversation, and the base model's "
        "tokenizer has no chat template to write it as text with"
    )
