from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import UsageError
from quantize_lib.worker.evaluate_folder import evaluate_folder
from tests.support.model_files import write_shard


def test_a_text_in_sequences_longer_than_the_models_positions_is_refused_with_what_fits(
    tmp_path: Path,
) -> None:
    config = {"model_type": "gpt2", "n_positions": 64, "quantization_config": {"quant_method": "gptq"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_shard(tmp_path / "model.safetensors", {"transformer.wpe.weight": (64, 8)})
    (tmp_path / "held-out.txt").write_text("text")
    with pytest.raises(UsageError) as caught:
        evaluate_folder(
            tmp_path,
            (tmp_path / "held-out.txt",),
            samples=1,
            sequence_length=65,
            reporter=PlainReporter(io.StringIO()),
        )
    assert caught.value.message == "--sequence-length is 65, and the model has 64 positions"
    assert caught.value.hint == "Say --sequence-length 64 or less."
