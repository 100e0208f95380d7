"""A job file that somebody wrote: its texts are as foreign as a manifest's."""

from __future__ import annotations

import io
from pathlib import Path

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.job.job_file import JobText
from quantize_lib.worker.job_text import load_tokens
from tests.support.byte_tokenizer import EOS, ByteTokenizer


def test_half_a_character_in_its_texts_is_mended_with_one_warning(tmp_path: Path) -> None:
    texts = tmp_path / "texts.json"
    texts.write_text('["cut \\ud83d", "whole \\ud83d\\ude00"]')
    text = JobText(texts=texts, source="2 texts", dataset=None, revision="r", samples=4, sequence_length=5)
    log = io.StringIO()
    ids, _ = load_tokens(text, ByteTokenizer(), rows=300, word="calibration", reporter=PlainReporter(log))
    assert ids.flatten().tolist() == [*"cut \ufffd".encode(), EOS, *"whole \U0001f600".encode(), EOS][:15]
    assert log.getvalue().count("calibration (2 texts): half of a character stands in it") == 1
