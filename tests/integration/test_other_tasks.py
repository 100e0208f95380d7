"""Models that continue no text: quantized by bitsandbytes as transformers quantizes them on loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import BitsAndBytesConfig
from transformers.models.auto import modeling_auto

from quantize_lib import tasks
from quantize_lib.errors import EvaluationError
from quantize_lib.evaluate.check import check_reload
from quantize_lib.files import read_json
from quantize_lib.job.job_file import JobCell, JobFile, JobModel
from quantize_lib.job.result import QuantizedCell, read_result
from quantize_lib.methods import settings_of
from quantize_lib.tasks import task_of
from quantize_lib.worker.run_job import run_job
from tests.support.in_process import reload_at_once
from tests.support.odd_weights import SINGLE, rewrite, tensors_of
from tests.support.other_tasks import MODELS, save_other
from tests.support.quantized_bases import make_fp8
from tests.support.quantizing import Silent
from tests.support.small_runs import command, evaluation, manifest, report

HEADS = {
    "BertForSequenceClassification": ["classifier"],
    "ElectraForTokenClassification": ["classifier"],
    # transformers takes the name of a skipped layer for the end of another's.
    "DistilBertForSequenceClassification": ["classifier", "pre_classifier"],
}
"""What is left in full precision beside what transformers leaves by itself."""


def quantized(base: Path, output: Path, *, widths: tuple[int, ...] = (4, 8), **model: Any) -> dict[int, Path]:
    """The checkpoints, by their width."""
    cells = tuple(
        JobCell(id=f"cell-{bits}", settings=settings_of("bitsandbytes", bits, {})) for bits in widths
    )
    run_job(
        JobFile(
            id="job",
            model=JobModel(path=base, name="tiny", revision="r", **model),
            device="cpu",
            calibration=None,
            evaluation=None,
            cells=cells,
            output=output,
        ),
        Silent(),
    )
    return {cell.settings.bits: output / cell.id for cell in cells}


def on_loading(base: Path, folder: Path, bits: int, skipped: list[str] | None) -> dict[str, torch.Tensor]:
    """What transformers saves of a model that it quantized while it loaded it."""
    four: dict[str, Any] = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    }
    asked = four if bits == 4 else {"load_in_8bit": True}
    auto: Any = getattr(transformers, task_of(read_json(base / "config.json")).auto_class)
    config = BitsAndBytesConfig(**asked, llm_int8_skip_modules=skipped)
    auto.from_pretrained(base, dtype="auto", quantization_config=config).save_pretrained(folder)
    return load_file(folder / SINGLE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_the_tensors_are_those_that_transformers_makes_on_loading(
    name: str, tmp_path: Path, calibration_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reload_at_once(monkeypatch)
    # T5's feed-forward stays in float32 where the model is float16.
    dtype = torch.float16 if name.startswith("T5") else torch.bfloat16
    base = save_other(name, tmp_path / "base", calibration_text, dtype=dtype)
    (tmp_path / "out").mkdir()
    for bits, folder in quantized(base, tmp_path / "out").items():
        theirs = on_loading(base, tmp_path / f"theirs-{bits}", bits, HEADS.get(name))
        ours = load_file(folder / SINGLE)
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            assert tensor.dtype == theirs[key].dtype, key
            assert torch.equal(tensor, theirs[key]), key
        assert any(key.endswith((".absmax", ".SCB")) for key in ours)
        config = read_json(folder / "config.json")
        assert config["architectures"] == [name]
        assert config["quantization_config"]["quant_method"] == "bitsandbytes"


def test_a_classifier_and_an_encoder_decoder_go_through_the_whole_command(
    tmp_path: Path, calibration_text: Path, held_out_text: Path
) -> None:
    one = save_other("BertForSequenceClassification", tmp_path / "bert", calibration_text)
    other = save_other("T5ForConditionalGeneration", tmp_path / "t5", calibration_text)
    cells = [{"method": "bitsandbytes", "bits": 4}]
    path = manifest(tmp_path, one, calibration_text, cells, evaluate=evaluation(held_out_text))
    more = f"- {{id: {other}, name: t5, quantize: [{{method: bitsandbytes, bits: 8}}]}}\n"
    path.write_text(path.read_text().replace("models:\n", f"models:\n{more}"), encoding="utf-8")
    done = command("run", path, "--output", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it is a model for sequence classification and continues no text" in done.stdout + done.stderr
    found = report(tmp_path / "out")
    for name, task, auto in (
        ("tiny-bnb-4bit", "text-classification", "AutoModelForSequenceClassification"),
        ("t5-bnb-8bit", "text2text-generation", "AutoModelForSeq2SeqLM"),
    ):
        assert found[name]["perplexity_before"] is None
        assert found[name]["reload"]["reproduced"] is True
        card = (tmp_path / "out" / name / "README.md").read_text(encoding="utf-8")
        assert f"pipeline_tag: {task}\n" in card
        assert f"model = {auto}.from_pretrained(model_id" in card
        assert "the outputs for" in card
        assert "vLLM" not in card


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_whose_outputs_are_not_the_base_models_is_found_out_by_the_reload(
    tmp_path: Path, calibration_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_other("BertForMaskedLM", tmp_path / "base", calibration_text)
    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:
        reload_at_once(patch)
        folder = quantized(base, tmp_path / "out")[4]
    tensors = tensors_of(folder)
    norm = "bert.encoder.layer.1.output.LayerNorm.weight"
    rewrite(folder, tensors | {norm: tensors[norm] * 1.5})
    with pytest.raises(
        EvaluationError, match="its outputs are not those of the base model quantized on load"
    ):
        check_reload(
            folder,
            prompt="The capital of France is",
            sample=None,
            base_logits=None,
            expected=None,
            work=tmp_path,
            base=base,
        )


@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_the_class_needs_and_the_files_lack_is_refused(
    tmp_path: Path, calibration_text: Path
) -> None:
    base = save_other("BertForSequenceClassification", tmp_path / "base", calibration_text)
    tensors = tensors_of(base)
    del tensors["classifier.weight"]
    rewrite(base, tensors)
    (tmp_path / "out").mkdir()
    with pytest.raises(Exception, match=r"base has no tensor classifier\.weight"):
        quantized(base, tmp_path / "out")


@pytest.mark.filterwarnings("ignore")
def test_an_fp8_encoder_is_dequantized_first(tmp_path: Path, calibration_text: Path) -> None:
    base = save_other("BartForConditionalGeneration", tmp_path / "base", calibration_text)
    make_fp8(base, "channel")
    (tmp_path / "out").mkdir()
    quantized(base, tmp_path / "out", widths=(4,), allow_quantized_base=True)
    results = read_result(tmp_path / "out" / "result.json").cells
    for result in results.values():
        assert isinstance(result, QuantizedCell)
        assert result.failure is None
        assert any("made from an FP8 base" in note for note in result.notes)


def test_the_classes_of_transformers_are_those_that_the_tasks_ask_for() -> None:
    masked = set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    both = set(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    assert masked | both >= tasks._ENCODERS
    for name in tasks._ENCODERS:
        found = modeling_auto.MODEL_MAPPING_NAMES[name]
        own = found if isinstance(found, str) else found[0]
        assert task_of({"architectures": [own], "model_type": name}).auto_class == "AutoModel"
