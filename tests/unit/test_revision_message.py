"""What is told of a new revision: what is another than before, and nothing of it is markup."""

from __future__ import annotations

from dataclasses import replace

from quantize_lib.card.revision import is_another, revision_message
from quantize_lib.report.records import CellRecord
from tests.support.records import MEASURED, RECORD, TEXT, with_figure

NOW = replace(
    RECORD,
    revision="b" * 40,
    settings={**RECORD.settings, "group_size": 32},
    measurements=replace(
        with_figure(MEASURED, "perplexity", after=34.5, standard_error=1.5), size_after=124_000_000
    ),
    files={"config.json": "0" * 64},
)


def message(before: CellRecord = RECORD, now: CellRecord = NOW) -> list[str]:
    return revision_message(before, now).splitlines()


def test_figures_size_base_and_settings_are_told_before_and_after_with_their_errors() -> None:
    lines = message()
    assert "| | Before | Now |" in lines
    assert "| Weights on disk | 118.0 MB | 124.0 MB |" in lines
    assert "| Perplexity | 36.05 ± 1.75 (+11.4%) | 34.50 ± 1.50 (+6.6%) |" in lines
    base = "<code>HuggingFaceTB/SmolLM2-135M-Instruct</code> at"
    assert f"- base model: {base} <code>{'a' * 40}</code> → {base} <code>{'b' * 40}</code>" in lines
    assert "- <code>group&#95;size</code>: <code>64</code> → <code>32</code>" in lines
    assert (
        "Both were measured on <code>Salesforce/wikitext (wikitext-2-raw-v1, train)</code> (32768 tokens)."
        in lines
    )
    assert not [line for line in lines if "desc" in line or "calibration" in line]


def test_figures_on_another_text_are_not_left_to_be_compared() -> None:
    other = replace(TEXT, tokens_digest="d" * 64)
    now = replace(NOW, measurements=replace(MEASURED, evaluation=other))
    assert any("figures cannot be compared" in line for line in message(now=now))


def test_figures_that_no_reload_reproduced_are_not_told() -> None:
    now = replace(NOW, measurements=replace(MEASURED, reload=None))
    assert "| Perplexity | 36.05 ± 1.75 (+11.4%) | – |" in message(now=now)
    none = replace(RECORD, measurements=None)
    assert not [line for line in message(none, replace(NOW, measurements=None)) if line.startswith("|")]


def test_the_same_made_again_by_another_version_is_said_to_be_so() -> None:
    now = replace(RECORD, files={}, versions={"model-quantizer": "9.0"})
    assert "- model-quantizer: <code>0.1.0</code> → <code>9.0</code>" in message(now=now)
    assert "It was made from the same base model with the same settings." in message(
        now=replace(RECORD, files={})
    )


def test_nothing_that_a_report_says_is_markup() -> None:
    evil = "a](http://x) <img src=x onerror=y> | `@everyone` \n# big"
    before = replace(
        RECORD,
        model=evil,
        revision=evil,
        format=evil,
        settings={evil: evil, "own": {evil: [evil]}},
        versions={"model-quantizer": evil},
        measurements=replace(MEASURED, evaluation=replace(TEXT, source=evil)),
        calibration=replace(TEXT, source=evil, tokens_digest="x"),
    )
    text = revision_message(before, NOW)
    for part in ("<img", "](", "@everyone", "`@", "\n# big"):
        assert part not in text


def test_a_new_card_alone_makes_no_other_checkpoint() -> None:
    card = replace(RECORD, files={**RECORD.files, "README.md": "1" * 64, "quality.png": "2" * 64})
    assert not is_another(RECORD, card)
    assert is_another(RECORD, NOW)
