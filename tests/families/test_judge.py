"""The judge takes a good checkpoint for good, and finds what is wrong with a damaged one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from quantize_lib.files import read_json
from quantize_lib.methods import Settings, settings_of
from tests.families.base_model import Base, Wrong, loaded_logits
from tests.families.judge import Verdict, judge
from tests.support.families import VOCABULARY, save_family
from tests.support.gguf_families import save_case
from tests.support.quantizing import GROUP_SIZE, quantize

Damage = Callable[[dict[str, Tensor]], None]
NORM = "model.layers.0.input_layernorm.weight"
CODES = "model.layers.1.mlp.down_proj.qweight"


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family("llama", tmp_path_factory.mktemp("judge") / "base")


@pytest.fixture(scope="module")
def good(base_folder: Path) -> Path:
    folder = base_folder.parent / "tiny-gptq-4bit"
    quantize(base_folder, folder, Settings(method="gptq", bits=4, group_size=GROUP_SIZE))
    return folder


@pytest.fixture
def verdict(base_folder: Path, tmp_path: Path) -> Callable[[Path], Verdict]:
    ids = torch.randint(3, VOCABULARY, (4, 64), generator=torch.Generator().manual_seed(7))
    return lambda folder: judge(Base(base_folder, ids, tmp_path), folder, bits=4, reload=loaded_logits)


def damaged(good: Path, tmp_path: Path, damage: Damage) -> Path:
    folder = tmp_path / good.name
    shutil.copytree(good, folder)
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    damage(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def test_a_good_checkpoint_is_better_than_rounding_to_nearest(
    good: Path, verdict: Callable[[Path], Verdict]
) -> None:
    found = verdict(good)
    assert found.ratio is not None
    assert found.ratio < 1
    assert (found.layers, found.share, found.format) == (14, 1.0, "gptq")


@pytest.mark.parametrize(("method", "bits"), [("fp8", 8), ("nvfp4", 4), ("mxfp4", 4)])
def test_floats_are_judged_layer_by_layer(method: str, bits: int, base_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / f"tiny-{method}-{bits}bit"
    quantize(base_folder, folder, Settings(method=method, bits=bits))
    ids = torch.randint(3, VOCABULARY, (4, 64), generator=torch.Generator().manual_seed(7))
    base = Base(base_folder, ids, tmp_path)
    assert judge(base, folder, bits=bits, reload=loaded_logits).layers == 14
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    codes = tensors["model.layers.1.mlp.down_proj.weight" + ("" if bits == 8 else "_packed")]
    # The sign of every number of an output, or of every other one.
    codes.view(torch.uint8)[3] ^= 0x80
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(Wrong, match="further off than plain rounding"):
        judge(base, folder, bits=bits, reload=loaded_logits)


def change_norm(tensors: dict[str, Tensor]) -> None:
    tensors[NORM] = tensors[NORM] * 1.1


def drop_norm(tensors: dict[str, Tensor]) -> None:
    del tensors[NORM]


def add_tensor(tensors: dict[str, Tensor]) -> None:
    tensors["model.layers.0.mlp.experts.0.up_proj.qweight"] = tensors[CODES].clone()


def flip_codes(tensors: dict[str, Tensor]) -> None:
    # The highest bit of each code: every weight moves by half the range of its group.
    tensors[CODES] = tensors[CODES] ^ -0x77777778


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (change_norm, f"{NORM} is not the base's"),
        (drop_norm, f"{NORM} is left out"),
        (flip_codes, "nothing to do with the base's|worse than rounding to nearest"),
    ],
)
def test_a_damaged_checkpoint_is_wrong(
    damage: Damage, reason: str, good: Path, tmp_path: Path, verdict: Callable[[Path], Verdict]
) -> None:
    with pytest.raises(Wrong, match=reason):
        verdict(damaged(good, tmp_path, damage))


def test_tensors_that_nobody_reads_are_wrong(good: Path, base_folder: Path, tmp_path: Path) -> None:
    base = Base(base_folder, torch.arange(3, 43)[None], tmp_path)
    with pytest.raises(Wrong, match=r"tensors that nobody reads: model\.layers\.0\.mlp\.experts"):
        loaded_logits(base, damaged(good, tmp_path, add_tensor), "float32")


def test_a_checkpoint_that_loads_as_something_else_is_silently_wrong(
    good: Path, tmp_path: Path, verdict: Callable[[Path], Verdict]
) -> None:
    folder = damaged(good, tmp_path, lambda _tensors: None)
    config = {**read_json(folder / "config.json"), "rms_norm_eps": 0.5}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Wrong, match="silently wrong"):
        verdict(folder)


def test_each_tensor_of_a_gguf_file_is_compared_with_the_base(tmp_path: Path, calibration_text: Path) -> None:
    from gguf import GGUFReader

    base_folder = save_case("granite", tmp_path / "base", calibration_text)
    folder = tmp_path / "cell"
    quantize(base_folder, folder, settings_of("gguf", 4, {"type": "Q4_0"}))
    ids = torch.randint(3, VOCABULARY, (2, 32), generator=torch.Generator().manual_seed(7))
    base = Base(base_folder, ids, tmp_path)
    assert judge(base, folder, bits=4, reload=loaded_logits).format == "gguf"
    (file,) = folder.glob("*.gguf")
    reader = GGUFReader(file, "r+")
    norm = next(tensor for tensor in reader.tensors if tensor.name == "blk.0.attn_norm.weight")
    norm.data[:] *= 1.1
    reader.data.flush()
    with pytest.raises(
        Wrong, match=r"model\.layers\.0\.input_layernorm\.weight is 0\.1000 off the base's as F32"
    ):
        judge(base, folder, bits=4, reload=loaded_logits)
