"""Bits by layer from measured costs: measured once, kept, and written as settings of the cell."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from quantize_lib.engine import bit_costs
from quantize_lib.engine.bit_costs import UnitCosts
from quantize_lib.errors import EngineError
from quantize_lib.gguf_file.types import BLOCKS
from quantize_lib.job.job_file import JobCell
from quantize_lib.methods import Settings
from quantize_lib.methods.settings import LayerWidth
from quantize_lib.worker.choose_bits import with_bits
from tests.support.down_projections import named_facts, save_letters
from tests.support.quantizing import Silent

LAYERS = [f"model.layers.{block}.mlp.down_proj" for block in range(3)]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Says once for each measuring which layers it was for; the last block costs a hundred times as much."""
    calls: list[str] = []

    def measure(
        _model: object, _text: object, schemes: Mapping[str, Collection[LayerWidth]], *_: object
    ) -> list[UnitCosts]:
        calls.append(" ".join(schemes))
        return [
            UnitCosts(
                layers=(name,),
                costs={
                    scheme: 4.0 ** -(bits_of(scheme)) * (100 if name == LAYERS[2] else 1)
                    for scheme in offered
                },
            )
            for name, offered in schemes.items()
        ]

    monkeypatch.setattr(bit_costs, "measure_costs", measure)
    return calls


def choose(folder: Path, *cells: JobCell, text: bool = True, key: str = "key") -> dict[str, Settings]:
    found = with_bits(
        cells,
        model=cast(Any, None),
        facts=named_facts(3),
        calibration=torch.zeros(1, 4, dtype=torch.int64) if text else None,
        base=save_letters(folder / "base"),
        folder=folder / "costs",
        key=key,
        reporter=Silent(),
    )
    return {cell.id: cell.settings for cell in found}


def bits_of(width: LayerWidth) -> float:
    """Of a weight, scales included."""
    if isinstance(width, str):
        weights, size = BLOCKS[width]
        return 8 * size / weights
    return width[0]


def cell(name: str, method: str = "gptq", **own: Any) -> JobCell:
    return JobCell(
        id=name, settings=Settings(method=method, bits=4, format="compressed-tensors", group_size=64, own=own)
    )


@pytest.mark.usefixtures("measured")
def test_most_bits_go_where_they_are_worth_most(tmp_path: Path) -> None:
    settings = choose(tmp_path, cell("a", target_bits=3.8))["a"]
    bits = {
        name: settings.bits if (own := settings.override_of(name)) is None else own.bits for name in LAYERS
    }
    assert bits == {LAYERS[0]: 3, LAYERS[1]: 3, LAYERS[2]: 4}
    # What most layers have needs no override.
    assert settings.bits == 3
    assert [own.modules for own in settings.overrides] == [LAYERS[2]]


def test_one_measuring_serves_all_cells_and_every_later_process(tmp_path: Path, measured: list[str]) -> None:
    two = (cell("a", target_bits=3.5), cell("b", "awq", target_bits=4.5), cell("c"))
    first = choose(tmp_path, *two)
    assert len(measured) == 1
    assert choose(tmp_path, *two) == first
    assert len(measured) == 1
    assert first["c"] == two[2].settings


def test_another_text_or_model_is_measured_anew(tmp_path: Path, measured: list[str]) -> None:
    choose(tmp_path, cell("a", target_bits=3.5))
    choose(tmp_path, cell("a", target_bits=3.5), key="other")
    assert len(measured) == 2


def test_a_damaged_file_of_costs_is_measured_anew(tmp_path: Path, measured: list[str]) -> None:
    choose(tmp_path, cell("a", target_bits=3.5))
    (file,) = (tmp_path / "costs").iterdir()
    file.write_text("{}", encoding="utf-8")
    choose(tmp_path, cell("a", target_bits=3.5))
    assert len(measured) == 2


def test_cells_without_a_target_are_not_measured(tmp_path: Path, measured: list[str]) -> None:
    assert choose(tmp_path, cell("a"), text=False) == {"a": cell("a").settings}
    assert measured == []


def test_bits_are_not_chosen_without_text(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is none"):
        choose(tmp_path, cell("a", target_bits=3.5), text=False)


def tensors(name: str, **own: Any) -> JobCell:
    return JobCell(id=name, settings=Settings(method="gguf", bits=4, own={"type": "auto", **own}))


def test_types_are_chosen_for_tensors_the_embedding_among_them(tmp_path: Path, measured: list[str]) -> None:
    settings = choose(tmp_path, tensors("a", target_bits=5.0), cell("b", target_bits=4))["a"]
    assert set(settings.types) == {f"{name}.weight" for name in (*LAYERS, "model.embed_tokens")}
    # The last block costs a hundred times as much.
    assert bits_of(settings.types[f"{LAYERS[2]}.weight"]) > bits_of(settings.types[f"{LAYERS[0]}.weight"])
    # Codes and types are tried in ways of their own.
    assert len(measured) == 2
    assert not settings.overrides


def test_types_that_were_measured_are_known_to_every_later_process(
    tmp_path: Path, measured: list[str]
) -> None:
    first = choose(tmp_path, tensors("a", target_bits=4.5))
    assert choose(tmp_path, tensors("a", target_bits=4.5)) == first
    assert len(measured) == 1
