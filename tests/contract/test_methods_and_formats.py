"""What every method keeps to in every format that says it fits: from the manifest to the published card.

The cells come from the registries, so a new entry is tested by being there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from quantize_lib.architecture.assignment import assign
from quantize_lib.files import read_json
from quantize_lib.formats import (
    FORMATS,
    Traits,
    WholeModel,
    format_of_config,
    formats_for,
    get_format,
    resolve_format,
)
from quantize_lib.methods import METHODS, Settings, get_method, settings_of
from quantize_lib.schemas import load_schema
from tests.support.small_runs import command, evaluation, manifest, report, save_tiny_model
from tests.support.unpacking import Unpacked

PAIRS = [(method.name, entry.name) for method in METHODS.values() for entry in formats_for(method)]


def all_widths(method: str) -> dict[int | str, int]:
    entry = get_method(method)
    return {bits: bits for bits in entry.bits} if entry.width is None else dict(entry.width_bits.items())


WIDTHS: dict[tuple[str, str], dict[int | str, int]] = {
    (method, name): {
        width: bits for width, bits in all_widths(method).items() if bits in get_format(name).bits
    }
    for method, name in PAIRS
}
"""What an entry's key says, with the bits that it means."""
CELLS: list[dict[str, Any]] = [
    {
        "method": method,
        get_method(method).width_key: list(WIDTHS[method, name]),
        "format": name,
        "name": f"{method}-in-{name}",
    }
    for method, name in PAIRS
]


def cell_id(method: str, name: str, width: int | str) -> str:
    return f"{method}-in-{name}-{width}{'bit' if isinstance(width, int) else ''}"


def settings_for(method: str, name: str, width: int | str) -> Settings:
    setting = get_method(method).width
    own = {} if setting is None else {setting.name: width}
    return settings_of(method, WIDTHS[method, name][width], {"format": name, **own})


def one_width(pair: tuple[str, str]) -> int | str:
    """A width of four bits, or else the first."""
    usual = get_method(pair[0]).width_of(4)
    return usual if usual is not None and usual in WIDTHS[pair] else next(iter(WIDTHS[pair]))


IDS = [cell_id(method, name, width) for method, name in PAIRS for width in WIDTHS[method, name]]
ONE_OF = {cell_id(*pair, one_width(pair)): settings_for(*pair, one_width(pair)) for pair in PAIRS}
ONE_A_PAIR = list(ONE_OF)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run of every method in every format."""

    folder: Path
    cells: dict[str, dict[str, Any]]
    plan: dict[str, dict[str, Any]]

    def checkpoint(self, cell: str) -> Path:
        return self.folder / "out" / cell


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path, held_out_text: Path) -> Run:
    """Every pair in 4 bits, or else its first width, through the whole command, the reload included."""
    folder = tmp_path_factory.mktemp("contract")
    model = save_tiny_model(folder / "tiny", calibration_text)
    limits = evaluation(held_out_text, max_kl_divergence=1, max_perplexity_increase="100%")
    manifest(folder, model, calibration_text, CELLS, evaluate=limits)
    assert command("validate", "quantize.yml", cwd=folder).returncode == 0
    planned = command("plan", "quantize.yml", "--format", "json", cwd=folder)
    assert planned.returncode == 0, planned.stderr
    (job,) = json.loads(planned.stdout)["jobs"]
    only = [word for cell in ONE_A_PAIR for word in ("--only", cell)]
    done = command("run", "quantize.yml", "--output", "out", *only, cwd=folder)
    assert done.returncode == 0, done.stderr
    return Run(folder=folder, cells=report(folder / "out"), plan={cell["id"]: cell for cell in job["cells"]})


def test_every_pair_is_planned_with_its_format(run: Run) -> None:
    assert list(run.plan) == IDS
    for method, name in PAIRS:
        for width in WIDTHS[method, name]:
            assert run.plan[cell_id(method, name, width)]["format"] == name


@pytest.mark.parametrize("cell", ONE_A_PAIR)
def test_a_cell_is_published_and_says_how_it_is_stored(run: Run, cell: str) -> None:
    record = run.cells[cell]
    assert record["status"] == "published"
    assert record["format"] == run.plan[cell]["format"]
    assert record["limits"] == {"max_kl_divergence": 1.0, "max_perplexity_increase": 1.0}
    assert record["reload"]["reproduced"]
    own = run.folder / "published" / record["repository"] / record.get("part", "")
    card = (own / "README.md").read_text(encoding="utf-8")
    method, settings = get_method(record["method"]), ONE_OF[cell]
    assert record["bits"] == settings.bits
    entry = get_format(record["format"]).of(settings)
    for sentence in (entry.limit, *entry.cautions(settings, Traits(model_type="llama"))):
        assert f"- {sentence}" in card
    assert f"with {method.title}" in card
    assert "pip install torch" in card
    # What serves it, if only by its file.
    assert "vllm serve" in card or "llama-cli -m tiny-" in card


@pytest.mark.parametrize("cell", ONE_A_PAIR)
def test_the_estimate_is_near_what_the_weights_take(run: Run, cell: str) -> None:
    assert run.plan[cell]["estimate"]["checkpoint_bytes"] == pytest.approx(
        run.cells[cell]["size_after"], rel=0.1
    )


@pytest.mark.parametrize("cell", ONE_A_PAIR)
def test_a_checkpoint_is_recognised_by_its_config(run: Run, cell: str) -> None:
    quantization = read_json(run.checkpoint(cell) / "config.json")["quantization_config"]
    found = format_of_config(quantization)
    assert found is not None
    assert found.name == run.cells[cell]["format"]
    assert "" in found.modes(quantization)


@pytest.mark.parametrize("cell", ONE_A_PAIR)
def test_packed_tensors_read_back_to_weights_near_the_base_models(run: Run, cell: str) -> None:
    base = load_file(run.folder / "tiny" / "model.safetensors")
    layers = Unpacked(run.checkpoint(cell))
    seen = 0
    for name, weight in base.items():
        layer = name.removesuffix(".weight")
        if weight.dim() != 2 or ".layers." not in name:
            continue
        read = layers[layer]
        assert read.shape == weight.shape
        # AWQ moves a scale from one layer to another: what is left of the direction is compared.
        assert _cosine(read, weight.float()) > 0.9, layer
        seen += 1
    assert seen == 14


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


@pytest.mark.parametrize(("method", "name"), PAIRS)
def test_a_format_holds_dense_models_of_plain_linear_layers(method: str, name: str) -> None:
    settings = settings_for(method, name, one_width((method, name)))
    assert resolve_format(settings, Traits(model_type="llama")).name == name


@pytest.mark.parametrize("name", FORMATS)
def test_the_schemas_know_every_format(name: str) -> None:
    assert name in load_schema("quantize")["$defs"]["format"]["enum"]
    settings = load_schema("job")["properties"]["cells"]["items"]["properties"]["settings"]
    assert name in settings["properties"]["format"]["enum"]


@pytest.mark.parametrize("name", METHODS)
def test_the_schemas_know_every_method(name: str) -> None:
    assert name in load_schema("quantize")["$defs"]["method"]["enum"]
    settings = load_schema("job")["properties"]["cells"]["items"]["properties"]["settings"]
    assert name in settings["properties"]["method"]["enum"]
    assert get_method(name).formats[0] in FORMATS


@pytest.mark.parametrize("name", METHODS)
def test_what_choices_cost_is_tried_by_a_method_whose_result_the_same_formats_store(name: str) -> None:
    method = METHODS[name]
    assert get_method(method.tried_by or name).result == method.result


@pytest.mark.parametrize("name", FORMATS)
def test_tensors_choose_among_the_types_of_their_format(name: str) -> None:
    chosen = get_format(name)
    config = {"model_type": "llama", "num_hidden_layers": 1}
    shapes = {"model.layers.0.mlp.up_proj.weight": (2, 32), "model.layers.0.mlp.down_proj.weight": (2, 256)}
    found = chosen.choices(WholeModel(config=config, shapes=shapes))
    assert {kind for sizes in found.values() for kind in sizes} == chosen.kinds.keys()
    assert all(size > 0 for sizes in found.values() for size in sizes.values())


def test_every_layer_is_assigned(run: Run) -> None:
    from quantize_lib.source import read_facts
    from quantize_lib.source.model_spec import ModelSpec

    folder = run.folder / "tiny"
    facts = read_facts(ModelSpec(id="tiny", name="tiny", local=folder), folder, revision="")
    for method, name in PAIRS:
        settings = settings_for(method, name, one_width((method, name)))
        assert len(assign(facts, settings)) == 14
