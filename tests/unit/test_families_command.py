"""`model-quantizer families MODEL` tells what would be quantized of a model, and what not and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.architecture.outcomes import outcomes
from quantize_lib.cli import main
from quantize_lib.errors import ExitCode
from quantize_lib.methods import METHODS
from tests.support.model_files import LLAMA, write_model


def test_layers_of_all_blocks_are_told_once_with_every_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "mine")
    assert main(["families", str(tmp_path / "mine")]) == ExitCode.OK
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "LlamaForCausalLM (llama): 2 blocks in model.layers"
    assert "2 × model.layers.*.self_attn.q_proj 96 → 96" in lines
    assert "gptq format gptq, group size 32" in lines
    assert "fp8 format compressed-tensors" in lines


def test_a_model_that_cannot_be_quantized_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "mine", {**LLAMA, "is_encoder_decoder": True})
    assert main(["families", str(tmp_path / "mine")]) == ExitCode.CELL_FAILED
    assert "is an encoder-decoder model" in capsys.readouterr().err


def test_without_a_model_what_came_of_every_type_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families"]) == ExitCode.OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    # The sweep has not been made with all of them.
    swept = next(outcomes()).formats
    assert lines[0] == ["Type", *swept]
    own = [method.formats[0] for method in METHODS.values() if method.title in swept]
    assert ["llama", *own] in lines
    assert len(lines) > 190
