"""Texts of several sources: their shares, what the manifest says of them, their tokens and their record."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib.calibration.conversations import Conversation, Document, documents_to_json
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.card.text_words import more_of
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.host.lookups import Lookups
from quantize_lib.job.job_file import JobText, JobTextPart
from quantize_lib.job.records import text_from_json, text_to_json
from quantize_lib.manifest import InvalidManifestError, parse_manifest
from quantize_lib.manifest.text import shares
from quantize_lib.plan.cells import Cell, Job
from quantize_lib.plan.fingerprint import fingerprint
from quantize_lib.worker.job_text import load_tokens
from tests.support.byte_tokenizer import EOS
from tests.support.chat_tokenizer import CHAT, ChatTokenizer

MIX: list[dict[str, Any]] = [
    {"files": ["a.txt"], "weight": 3},
    {"files": ["c.jsonl"], "column": "messages", "chat_template_kwargs": {"mood": "calm"}},
]


def job(folder: Path, calibration: dict[str, Any], **more: Any) -> Job:
    document = {
        "version": 1,
        "models": [{"id": "acme/m", "quantize": [{"method": "gptq", "bits": 4}], "calibration": calibration}],
        **more,
    }
    (folder / "a.txt").write_text("some plain text")
    (folder / "c.jsonl").write_text(json.dumps({"messages": CHAT}) + "\n")
    (found,) = parse_manifest(yaml.safe_dump(document), path=folder / "quantize.yml").jobs
    return found


def faults(folder: Path, calibration: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidManifestError) as caught:
        job(folder, calibration, **more)
    return [
        (where, message)
        for problem in caught.value.problems
        for where, _, message in [problem.message.partition(": ")]
    ]


@pytest.mark.parametrize(
    ("weights", "samples", "wanted"),
    [
        ([3, 1], 128, [96, 32]),
        ([1, 1, 1], 128, [43, 43, 42]),
        ([0.1, 0.2], 9, [3, 6]),
        ([1, 1000], 10, [0, 10]),
        ([2, None], 3, [2, 1]),
    ],
)
def test_samples_are_shared_out_by_the_largest_remainder(
    weights: list[float | None], samples: int, wanted: list[int]
) -> None:
    assert shares([{} if one is None else {"weight": one} for one in weights], samples) == wanted


def test_each_source_keeps_its_own_words_and_shares_what_is_said_of_the_whole(tmp_path: Path) -> None:
    text = job(tmp_path, {"mix": MIX, "samples": 8, "sequence_length": 16, "seed": 5}).calibration
    assert text == TextSpec(
        mix=(
            TextSpec(files=(tmp_path / "a.txt",), samples=6, sequence_length=16, seed=5),
            TextSpec(
                files=(tmp_path / "c.jsonl",),
                column="messages",
                chat_template_kwargs=(("mood", "calm"),),
                samples=2,
                sequence_length=16,
                seed=5,
            ),
        ),
        samples=8,
        sequence_length=16,
        seed=5,
    )


def test_a_mix_and_a_single_source_replace_each_other(tmp_path: Path) -> None:
    shared = {"calibration": {"mix": MIX, "samples": 8}}
    assert job(tmp_path, {"texts": ["t"]}, defaults=shared).calibration == TextSpec(texts=("t",), samples=8)
    shared = {"calibration": {"dataset": "a/b", "config": "c", "column": "d"}}
    assert len(job(tmp_path, {"mix": MIX}, defaults=shared).calibration.mix) == 2


@pytest.mark.parametrize(
    ("calibration", "path", "message"),
    [
        ({"mix": []}, "mix", "an empty list; give at least one."),
        ({"mix": MIX, "files": ["a.txt"]}, "files", "not together with `mix`"),
        ({"mix": MIX, "column": "text"}, "column", "not together with `mix`"),
        ({"mix": [{}, MIX[0]]}, "mix[0]", "needs one of `dataset`, `files` and `texts`."),
        ({"mix": [{"texts": ["a"], "dataset": "b"}, MIX[0]]}, "mix[0].texts", "not together with `dataset`"),
        ({"mix": [{"texts": ["a"], "samples": 3}, MIX[0]]}, "mix[0].samples", "unknown key."),
        ({"mix": [{"files": ["none*"]}, MIX[0]]}, "mix[0].files[0]", "no file matches `none*`"),
        ({"mix": [{"texts": ["a"], "weight": 0}, MIX[0]]}, "mix[0].weight", "0 is not a weight"),
        ({"mix": [{"texts": ["a"], "weight": 0.001}, MIX[0]]}, "mix[0]", "none of the 128 samples is left"),
        ({"chat_template_kwargs": {}}, "chat_template_kwargs", "empty; name a variable"),
        (
            {"chat_template_kwargs": {"tokenize": True}},
            "chat_template_kwargs",
            "`tokenize` is no variable that a chat template can be given here",
        ),
        ({"chat_template_kwargs": {"a": [1]}}, "chat_template_kwargs.a", "expected text or a number or true"),
    ],
)
def test_what_is_wrong_with_a_mix_is_told_where_it_stands(
    calibration: dict[str, Any], path: str, message: str, tmp_path: Path
) -> None:
    ((where, what),) = faults(tmp_path, calibration)
    assert where == f"models[0].calibration.{path}"
    assert message in what


def test_a_source_without_a_sample_is_told_where_the_mix_is_written(tmp_path: Path) -> None:
    shared = {"calibration": {"mix": MIX}}
    ((where, _),) = faults(tmp_path, {"samples": 1}, defaults=shared)
    assert where == "defaults.calibration.mix[1]"
    ((where, _),) = faults(tmp_path, {}, evaluate={"perplexity": {"mix": MIX, "samples": 1}})
    assert where == "evaluate.perplexity.mix[1]"


def test_the_fingerprint_follows_sources_shares_and_arguments(tmp_path: Path) -> None:
    lookups = Lookups(PlainReporter(StringIO()))

    def digest(mix: list[dict[str, Any]]) -> str:
        found = job(tmp_path, {"mix": mix, "samples": 8})
        cell: Cell = found.cells[0]
        revision = lookups.text_revision(found.calibration)
        return fingerprint(cell, found, model_revision="0" * 40, calibration_revision=revision)

    changed = [
        MIX[::-1],
        [{**MIX[0], "weight": 1}, MIX[1]],
        [MIX[0], {**MIX[1], "chat_template_kwargs": {"mood": "wild"}}],
        [{"texts": ["another text"], "weight": 3}, MIX[1]],
    ]
    assert len({digest(mix) for mix in [MIX, *changed]}) == 5
    assert digest(MIX) == digest([{**MIX[0], "weight": 6}, {**MIX[1], "weight": 2}])


def test_windows_of_every_source_stand_one_after_the_other_and_are_recorded(
    tmp_path: Path,
) -> None:
    documents: list[Document] = ["abcdefg", Conversation(messages=CHAT, place="c.jsonl:1")]
    (tmp_path / "texts.json").write_text(json.dumps(documents_to_json(documents)))
    first = JobTextPart(documents=1, source="a", dataset="x/a", revision="r1", samples=2)
    chats = {"mood": "calm"}
    second = replace(first, source="b", dataset=None, samples=9, chat_template_kwargs=chats)
    text = JobText(
        texts=tmp_path / "texts.json",
        source="a × 2 and b × 9",
        dataset=None,
        revision="sha256:m",
        samples=11,
        sequence_length=4,
        parts=(first, second),
    )
    log = StringIO()
    ids, record = load_tokens(
        text, ChatTokenizer(), rows=300, word="calibration", reporter=PlainReporter(log)
    )
    assert ids[:2].tolist() == [[97, 98, 99, 100], [101, 102, 103, EOS]]
    assert bytes(ids[2:].flatten().tolist()) == b"<u:Hi;a:Hello;calm"[:16]
    assert (record.samples, record.short, record.conversations) == (6, True, 1)
    assert [(part.source, part.samples, part.short) for part in record.parts] == [
        ("a", 2, False),
        ("b", 4, True),
    ]
    assert record.datasets == ["x/a"]
    assert text_from_json(json.loads(json.dumps(text_to_json(record)))) == record
    said = log.getvalue()
    assert "calibration: b gives 4 sequences of 4 tokens, 9 × 4 were asked for" in said
    assert "calibration: b: 4 sequences, 1 of its documents by the chat template" in said
    assert more_of(record) == (
        " Documents that the base model's chat template wrote as text: 1. Its sources: a at <code>r1</code> "
        "(sequences: 2) and b at <code>r1</code> (sequences: 4, by the chat template with "
        "<code>mood=&#34;calm&#34;</code>)."
    )
