"""The conversations that come with the package: what they are, when they are measured, and what they cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quantize_lib.calibration.conversations import Conversation
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import BUILT_IN, collect_texts
from quantize_lib.errors import CalibrationError, ManifestError
from quantize_lib.files import write_json
from quantize_lib.job.job_file import JobFile, JobModel, JobText
from quantize_lib.manifest import parse_manifest
from quantize_lib.metrics import limit_key
from quantize_lib.plan.cells import CONVERSATIONS, EvaluateSpec
from quantize_lib.plan.documents import plan_json
from quantize_lib.worker.held_out import load_held_out
from tests.support.byte_tokenizer import ByteTokenizer
from tests.support.chat_tokenizer import CHAT, ChatTokenizer
from tests.support.quantizing import Silent

OWN = TextSpec(built_in=True, optional=True, samples=8)


def evaluate(tmp_path: Path, words: str) -> EvaluateSpec:
    """The `evaluate` of a manifest with these words."""
    text = f"""
        version: 1
        models: [{{id: x/a, quantize: [{{method: awq, bits: 4}}]}}]
        evaluate: {words}
    """
    return parse_manifest(text, path=tmp_path / "quantize.yml").jobs[0].evaluate


def test_they_are_conversations_that_every_template_takes() -> None:
    found = collect_texts(replace(OWN, samples=1000), token=None)
    assert (found.source, found.dataset) == (BUILT_IN, None)
    assert 40 <= len(found.texts) <= 60
    for one in found.texts:
        assert isinstance(one, Conversation)
        # Gemma's, for one, takes no system message, and nobody twice in a row.
        assert [message["role"] for message in one.messages] == ["user", "assistant"] * (
            len(one.messages) // 2
        )
    several = [one for one in found.texts if len(one) > 0 and len(one.messages) > 2]  # type: ignore[union-attr]
    assert len(several) >= 10


def test_they_are_a_further_text_wherever_something_is_measured(tmp_path: Path) -> None:
    found = evaluate(tmp_path, "{perplexity: {texts: [t]}}")
    assert found.conversations == OWN
    assert found.with_conversations(measured=True).texts == {CONVERSATIONS: OWN}
    assert found.with_conversations(measured=False).texts == {}
    assert evaluate(tmp_path, "{max_size: 1 GB}").conversations is None


def test_one_word_turns_them_off_and_a_text_of_that_name_takes_their_place(tmp_path: Path) -> None:
    assert evaluate(tmp_path, "{perplexity: {texts: [t]}, conversations: false}").conversations is None
    mine = evaluate(tmp_path, "{perplexity: {texts: [t]}, texts: {conversations: {texts: [u]}}}")
    assert mine.conversations is None
    assert mine.texts[CONVERSATIONS].texts == ("u",)


@pytest.mark.parametrize(
    ("length", "given", "samples"),
    [
        *((64, 40, 8), (512, 40, 8), (1024, 40, 4), (2048, 40, 2), (4096, 40, 1), (8192, 40, 1)),
        *((512, 10, 5), (512, 2, 1), (512, 1, 1)),
    ],
)
def test_they_cost_as_much_as_eight_sequences_of_512_tokens_or_half_the_first_text_at_most(
    tmp_path: Path, length: int, given: int, samples: int
) -> None:
    text = f"{{texts: [t], samples: {given}, sequence_length: {length}}}"
    found = evaluate(tmp_path, f"{{perplexity: {text}}}")
    assert found.conversations is not None
    assert (found.conversations.samples, found.conversations.sequence_length) == (samples, length)


def test_limits_on_them_are_limits_and_then_a_template_has_to_be_there(tmp_path: Path) -> None:
    found = evaluate(
        tmp_path,
        "{perplexity: {texts: [t]}, max_kl_divergence: 1, conversations: {max_kl_divergence: 0.3}}",
    )
    key = limit_key("max_kl_divergence", CONVERSATIONS)
    assert found.limits == {"max_kl_divergence": 1.0, key: 0.3}
    assert found.conversations == replace(OWN, optional=False)


def test_limits_on_them_without_a_held_out_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nothing to measure it on; give `perplexity`"):
        evaluate(tmp_path, "{conversations: {max_kl_divergence: 0.3}}")
    assert evaluate(tmp_path, "{conversations: true}").conversations is None


def test_the_plan_says_that_they_are_measured(tmp_path: Path) -> None:
    text = """
        version: 1
        models: [{id: x/a, quantize: [{method: awq, bits: 4}]}]
        evaluate: {perplexity: {texts: [t]}, conversations: {max_kl_divergence: 0.3}}
    """
    (job,) = plan_json(parse_manifest(text, path=tmp_path / "quantize.yml"), {})["jobs"]
    assert job["evaluate"]["conversations"] == {
        "samples": 8,
        "sequence_length": 512,
        "max_perplexity_increase": None,
        "max_kl_divergence": 0.3,
        "min_top_token_agreement": None,
    }


def job(tmp_path: Path, *, optional: bool) -> JobFile:
    """A job with a held-out text of letters and two conversations."""
    write_json(tmp_path / "first.json", ["a" * 100])
    (tmp_path / "own.json").write_text(json.dumps([{"messages": list(CHAT)}] * 2))
    text = JobText(
        texts=tmp_path / "first.json",
        source="1 text",
        dataset=None,
        revision="r",
        samples=2,
        sequence_length=8,
    )
    own = replace(text, texts=tmp_path / "own.json", source=BUILT_IN, optional=optional)
    return JobFile(
        id="x",
        model=JobModel(path=tmp_path, name="x", revision="r"),
        device="cpu",
        calibration=None,
        evaluation=text,
        cells=(),
        output=tmp_path,
        texts={CONVERSATIONS: own},
    )


def test_the_worker_leaves_them_out_where_the_tokenizer_has_no_template(tmp_path: Path) -> None:
    said = Silent()
    found = load_held_out(job(tmp_path, optional=True), None, ByteTokenizer(), rows=300, reporter=said)
    assert found.texts == {}
    assert found.ids is not None
    assert found.ids.shape == (2, 8)
    whole = load_held_out(job(tmp_path, optional=True), None, ChatTokenizer(), rows=300, reporter=said)
    assert whole.texts[CONVERSATIONS].conversations == 2
    assert whole.ids is not None
    assert whole.ids.shape == (4, 8)


def test_the_worker_does_not_leave_out_what_has_limits(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no chat template"):
        load_held_out(
            job(tmp_path, optional=False),
            None,
            ByteTokenizer(),
            rows=300,
            reporter=Silent(),
        )
