"""A mixture of experts through the whole command in GPTQ's own format, which one loader reads."""

from __future__ import annotations

from pathlib import Path

from quantize_lib.files import read_json
from tests.support.small_runs import command, evaluation, manifest, report, save_tiny_type


def test_gptqs_own_format_of_a_mixture_is_published_as_gptqmodel_reads_it_and_says_who_does_not(
    tmp_path: Path, calibration_text: Path, held_out_text: Path
) -> None:
    model = save_tiny_type("qwen3_moe", tmp_path / "model", calibration_text)
    manifest(
        tmp_path,
        model,
        calibration_text,
        [{"method": "gptq", "bits": 4, "format": "gptq", "name": "mixture"}],
        evaluate=evaluation(held_out_text),
        publish={"to": "directory", "path": "published"},
    )
    done = command("run", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    warning = "Plain transformers does not read this mixture in this format"
    assert warning in done.stderr
    folder = tmp_path / "published" / "mixture"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert warning in card
    assert "In full precision stay:" in card
    assert "- a router" in card
    quantization = read_json(folder / "config.json")["quantization_config"]
    (named,) = quantization["modules_in_block_to_quantize"]
    assert [name for name in named if "experts" in name] == [
        f"model.layers.{block}.mlp.experts" for block in range(4)
    ]
    assert report(tmp_path / "output")["mixture"]["reload"]["reproduced"]
