"""The command line's form for one model: the guide's words, the manifest's checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.manifest import single_model_plan
from quantize_lib.methods import METHODS
from quantize_lib.methods.settings import Settings
from quantize_lib.targets.directory import PATH


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calibration(text: str | None) -> TextSpec:
    (job,) = single_model_plan("acme/m", calibration_dataset=text).jobs
    return job.calibration


def test_a_model_alone_is_gptq_with_8_bits(here: Path) -> None:
    plan = single_model_plan("acme/m")
    (job,) = plan.jobs
    (cell,) = job.cells
    assert (job.id, job.device, job.model.id, job.model.revision) == ("m-auto", "auto", "acme/m", "main")
    assert (cell.id, cell.settings) == ("m-gptq-8bit", Settings(method="gptq", bits=8))
    assert plan.publish[PATH] / cell.repository == here / "m-gptq-8bit"
    assert (plan.manifest, plan.publish.to) == (None, "directory")


def test_every_option_has_its_place(here: Path) -> None:
    plan = single_model_plan(
        "acme/m", method="gptq", bits=4, output_dir=Path("../out dir/x y"), device="mps",
        group_size=64, desc_act=True, sym=False,
    )  # fmt: skip
    (job,) = plan.jobs
    (cell,) = job.cells
    assert job.device == "mps"
    assert cell.settings == Settings(
        method="gptq", bits=4, group_size=64, own={"desc_act": True, "sym": False}
    )
    assert plan.publish[PATH] / cell.repository == here.parent / "out dir" / "x y"


@pytest.mark.parametrize("bits", [4, 8])
def test_the_guides_other_methods(bits: int) -> None:
    (job,) = single_model_plan("acme/m", method="bitsandbytes", bits=bits).jobs
    assert job.cells[0].id == f"m-bnb-{bits}bit"
    (job,) = single_model_plan("acme/m", method="awq", bits=4).jobs
    assert job.cells[0].id == "m-awq-4bit"


def test_without_a_data_set_the_default_one_is_used_and_may_be_short() -> None:
    assert calibration(None) == TextSpec(
        dataset="Salesforce/wikitext", config="wikitext-2-raw-v1", allow_short=True
    )


def test_c4_is_the_data_set_of_that_name() -> None:
    assert calibration("c4") == TextSpec(dataset="allenai/c4", config="en", allow_short=True)


def test_a_word_is_a_data_set() -> None:
    assert calibration("acme/texts") == TextSpec(dataset="acme/texts", allow_short=True)


def test_commas_and_white_space_make_texts() -> None:
    texts = calibration("This is a sample text, This is another sample,,").texts
    assert texts == ("This is a sample text", "This is another sample")
    assert calibration("one text\nof two lines").texts == ("one text\nof two lines",)
    assert calibration("long, " * 1000).texts == ("long",) * 1000


@pytest.mark.parametrize("name", ["calibration", "a b,c.txt", "c5"])
def test_what_is_a_file_is_a_file(name: str, here: Path) -> None:
    (here / name).touch()
    assert calibration(name) == TextSpec(files=(here / name,), allow_short=True)


@pytest.mark.parametrize(
    ("folder", "cell"),
    [("mine", "mine"), ("my model", "my-model"), ("-x--y..z-", "x-y-z"), ("模型", "model")],
)
def test_a_local_folders_name_is_made_safe(folder: str, cell: str, here: Path) -> None:
    (here / folder).mkdir()
    (job,) = single_model_plan(f"./{folder}").jobs
    assert (job.model.local, job.cells[0].id) == (here / folder, f"{cell}-gptq-8bit")


FAULTS: list[tuple[dict[str, Any], str]] = [
    (
        {"method": "bitsandbytes", "bits": 3},
        "--bits: 3 is not allowed for bitsandbytes (it has NF4 and FP4 in 4 bits and LLM.int8 in 8 bits). "
        "Allowed: 4, 8.",
    ),
    (
        {"method": "awk"},
        f"--method: `awk` is not allowed here. Allowed: {', '.join(METHODS)}. Perhaps you meant `awq`?",
    ),
    (
        {"method": "awq", "bits": 4, "sym": False},
        "--no-sym: not a setting of awq (AWQ's GEMM format always has zero points; it belongs to gptq).",
    ),
    (
        {"method": "bitsandbytes", "desc_act": True},
        "--desc-act: not a setting of bitsandbytes (it belongs to gptq).",
    ),
    (
        {"group_size": 100},
        "--group-size: 100 is not a group size that the loaders' kernels take. "
        "Allowed: auto, -1, 16, 32, 64, 128.",
    ),
    (
        {"calibration_dataset": "a/b/c"},
        "--calibration-dataset: `a/b/c` is not the id of a data set: use `name` or `namespace/name` "
        "of letters, digits, `-`, `_`, `.`, a letter or digit at each end.",
    ),
    ({"calibration_dataset": " , "}, "--calibration-dataset: an empty list; give at least one."),
    ({"output_dir": Path("/")}, "--output-dir: / cannot be a checkpoint's folder."),
]


@pytest.mark.parametrize(("options", "message"), FAULTS, ids=[message[:24] for _, message in FAULTS])
def test_a_mistake_is_told_with_its_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        single_model_plan("acme/m", **options)
    assert str(caught.value) == message
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_missing_folder_is_told(here: Path) -> None:
    with pytest.raises(UsageError) as caught:
        single_model_plan("./none", method="awq", bits=2)
    assert str(caught.value).splitlines() == [
        f"MODEL: no such folder: `{here}/none`.",
        "--bits: 2 is not allowed for awq (AWQ's GEMM format has kernels for 4 bits only). Allowed: 4. "
        "Another format may do: `gptq`, `compressed-tensors`.",
    ]
