"""Quantizes small models through the shared pass, and says what the loaded checkpoint has to compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from quantize_lib.architecture.assignment import traits_of
from quantize_lib.architecture.group_sizes import resolve_group_size
from quantize_lib.architecture.placing import place
from quantize_lib.architecture.tensors import Weights
from quantize_lib.checkpoint.assemble import assemble
from quantize_lib.checkpoint.shards import ShardWriter
from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import CellOutcome
from quantize_lib.engine.shared_pass import SharedPass
from quantize_lib.files import read_json
from quantize_lib.formats import format_of_config
from quantize_lib.formats.loading import LoadRequest
from quantize_lib.methods import Settings
from quantize_lib.reporting import Progress
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.headers import read_header
from tests.support.families import VOCABULARY, save_family
from tests.support.passes import Memory, work, works
from tests.support.rounding import Recording, checkpoint_context, record

GROUP_SIZE = 64
"""Of the small models' checkpoints."""


class Silent:
    """A reporter for tests that look elsewhere."""

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None:
        raise AssertionError(message)

    @contextmanager
    def group(self, _title: str) -> Iterator[None]:
        yield

    @contextmanager
    def progress(self, _title: str, _total: int, _unit: str) -> Iterator[Progress]:
        yield self

    def advance(self, amount: int = 1) -> None: ...


def model_facts(folder: Path) -> ModelFacts:
    config = read_json(folder / "config.json")
    file = "model.safetensors"
    placed = place(config, Weights(tensors=read_header(folder / file, file=file), files=(file,)))
    return ModelFacts(
        config=config,
        revision="sha256:0",
        tensors=placed.tensors,
        layers=placed.structure.layers,
        kept=placed.structure.kept,
        blocks=(placed.structure.blocks,),
        conv1d=placed.structure.conv1d,
        weight_bytes=0,
        download_bytes=0,
    )


def made_in_one_pass(
    base: Path, cells: Sequence[tuple[str, int]], **own: Any
) -> tuple[dict[str, Mapping[str, Tensor]], Mapping[str, CellOutcome]]:
    """What one pass with these methods and bits makes of a small model, and its outcomes, by cell.

    Args:
        own: settings of the methods that have them.
    """
    facts = model_facts(base)
    ids = torch.randint(3, VOCABULARY, (24, 128), generator=torch.Generator().manual_seed(5))
    model = StreamedModel(base, facts, device=torch.device("cpu"))
    made = works(facts, cells, **own)
    shared = SharedPass(model, made, calibration=ids, evaluation=ids[:2], sample=0, reporter=Silent())
    outcomes = shared.run().cells
    assert all(cell.error is None for cell in outcomes.values())
    return {cell.id: cast(Memory, cell.sink).tensors for cell in made}, outcomes


def quantize(base: Path, folder: Path, settings: Settings) -> tuple[Recording, str]:
    """A checkpoint of a family's small model, through the shared pass."""
    facts = model_facts(base)
    model = StreamedModel(base, facts, device=torch.device("cpu"))
    folder.mkdir()
    ids = torch.randint(3, VOCABULARY, (8, 64), generator=torch.Generator().manual_seed(2))
    with ShardWriter(folder, tensors=200) as writer:
        cell = work(facts, settings, writer, cell_id="cell")
        shared = SharedPass(model, [cell], calibration=ids, evaluation=ids[:2], sample=0, reporter=Silent())
        recording = record(shared)["cell"]
        outcome = shared.run()
        assert outcome.cells["cell"].error is None
        writer.finish()
    context = replace(
        checkpoint_context(
            settings,
            cell.layers,
            group_size=resolve_group_size(facts, settings),
            blocks=model.blocks,
            kept=tuple(layer.name for layer in facts.layers if layer.name not in cell.layers),
            outside=model.outside_linears(),
            dtype=model.disk_dtype,
            model_type=str(facts.config["model_type"]),
        ),
        traits=traits_of(facts, settings),
        model="tiny",
        types=cell.types,
    )
    assemble(
        folder,
        base=base,
        config=facts.config,
        quantization_config=cell.format.quantization_config(context),
        side_files=[],
    )
    cell.format.complete(folder, base, context)
    return recording, model.blocks


def intended(base: Path, made: Mapping[int, RoundedBlock], blocks: str) -> nn.Module:
    """The base model with the dequantized weights and changed norms in their places."""
    model: nn.Module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for index, rounded in made.items():
            block = model.get_submodule(f"{blocks}.{index}")
            linears = find_linears(block)
            for name, layer in rounded.layers.items():
                linears[name].view.copy_(layer.weight)
            for name, value in rounded.params.items():
                block.get_parameter(name).copy_(value)
    return model


def quantized_family(
    folder: Path, settings: Settings, family: str = "llama"
) -> tuple[Recording, str, nn.Module]:
    """A checkpoint in `folder/cell`; what was made of the blocks, their name, and the model that is meant."""
    base = save_family(family, folder / "base")
    recording, blocks = quantize(base, folder / "cell", settings)
    return recording, blocks, intended(base, recording.outputs, blocks)


def load_checked(folder: Path, mode: str = "", dtype: str = "float32") -> nn.Module:
    """A checkpoint as a user loads it; every tensor is there and has its place."""
    quantization = read_json(folder / "config.json")["quantization_config"]
    chosen = format_of_config(quantization)
    assert chosen is not None
    request = LoadRequest(folder=str(folder), dtype=dtype, device="cpu", trust_remote_code=False, mode=mode)
    loaded = chosen.load(request, quantization)
    for keys in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not loaded.info[keys], keys
    model: nn.Module = loaded.model
    return model


def difference(one: nn.Module, other: nn.Module) -> float:
    ids = torch.randint(3, VOCABULARY, (2, 48), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        a: Tensor = one(input_ids=ids).logits.float()
        b: Tensor = other(input_ids=ids).logits.float()
    return float((a - b).abs().max() / b.abs().max())


def assert_weights_are_those_meant(
    folder: Path, mode: str, dtype: torch.dtype, recording: Recording, blocks: str
) -> None:
    """Loaded in 16 bits, every quantized weight is the one that was meant, rounded once."""
    model = load_checked(folder, mode, str(dtype).removeprefix("torch."))
    # The weights may be unpacked at the first forward.
    with torch.inference_mode():
        model(input_ids=torch.arange(3, 11)[None])
    for index, rounded in recording.outputs.items():
        for name, layer in rounded.layers.items():
            found = model.get_parameter(f"{blocks}.{index}.{name}.weight")
            assert found.dtype == dtype
            assert torch.equal(found, layer.weight.to(dtype)), (mode, name)


def assert_whole_model(
    loaded: nn.Module, base: Path, recording: Recording, blocks: str, *, outside: tuple[str, ...]
) -> None:
    """A model has the weights that were meant in its blocks, and the base model's other tensors.

    Args:
        outside: endings of the names of those that were rounded, too; they are only near the base model's.
    """
    meant = intended(base, recording.outputs, blocks).state_dict()
    found = loaded.state_dict()
    assert found.keys() == meant.keys()
    for name, value in meant.items():
        if name.endswith(outside):
            assert 0 < float((found[name] - value).norm() / value.norm()) < 0.1, name
        else:
            assert torch.equal(found[name], value), name
