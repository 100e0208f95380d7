"""Every family × method: what plain transformers loads computes what was intended.

The intended model is the base with the dequantized weights put in. The tolerance on the logits is one that a
single wrong 4-bit code would break, and the test shows it: it flips one and looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from quantize_lib.checkpoint.assemble import assemble
from quantize_lib.checkpoint.shards import ShardWriter
from quantize_lib.engine.block import BlockInput, BlockOutput, CellContext
from quantize_lib.engine.folds import weight_view
from quantize_lib.engine.methods.base import Method
from quantize_lib.engine.methods.registry import get_method
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.shared_pass import CellWork, SharedPass
from quantize_lib.source.families import get_family
from quantize_lib.source.groups import resolved_layers
from quantize_lib.source.headers import read_header
from quantize_lib.source.layers import find_layers
from quantize_lib.types import MethodName, ModelFacts, Progress, Settings
from tests.families import CONFIGS, VOCABULARY, save_family

GROUP_SIZE = 64
TOLERANCE = 2e-3
"""Of the logits, relative to their largest: float32 sums in another order and 16-bit scales of int4 kernels."""


class Silent:
    """A reporter for tests that look elsewhere."""

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None:
        raise AssertionError(message)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        yield

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Progress]:
        yield self

    def advance(self, amount: int = 1) -> None: ...


class Recording(Method):
    """Passes everything through and keeps what the method made of each block."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.needs_statistics = method.needs_statistics  # type: ignore[misc]
        self.uses_folds = method.uses_folds  # type: ignore[misc]
        self.outputs: dict[int, BlockOutput] = {}

    def quantize(self, block: BlockInput, settings: Settings) -> BlockOutput:
        self.outputs[block.index] = self._method.quantize(block, settings)
        return self.outputs[block.index]

    def quantization_config(self, context: CellContext) -> dict[str, Any]:
        return self._method.quantization_config(context)


def model_facts(folder: Path) -> ModelFacts:
    import json

    config = json.loads((folder / "config.json").read_text())
    tensors = read_header(folder / "model.safetensors", file="model.safetensors")
    return ModelFacts(
        config=config,
        revision="sha256:0",
        tensors=tensors,
        layers=find_layers(config, tensors),
        weight_bytes=0,
        download_bytes=0,
    )


def quantize(base: Path, folder: Path, settings: Settings) -> tuple[Recording, str]:
    """A checkpoint of a family's small model, through the shared pass."""
    facts = model_facts(base)
    blocks = get_family(facts.config).blocks
    model = StreamedModel(base, facts, blocks=blocks, device=torch.device("cpu"))
    layers = {layer.name: (bits, size) for layer, bits, size in resolved_layers(facts, settings)}
    method = Recording(get_method(settings.method))
    folder.mkdir()
    ids = torch.randint(3, VOCABULARY, (8, 64), generator=torch.Generator().manual_seed(2))
    with ShardWriter(folder, tensors=200) as writer:
        work = CellWork(id="cell", settings=settings, method=method, layers=layers, sink=writer)
        outcome = SharedPass(
            model, [work], calibration=ids, evaluation=ids[:2], sample=0, reporter=Silent()
        ).run()
        assert outcome.cells["cell"].error is None
        writer.finish()
    context = CellContext(
        settings=settings,
        group_size=GROUP_SIZE,
        model_type=str(facts.config["model_type"]),
        blocks=blocks,
        quantized=tuple(layers),
        kept=(),
        outside=model.outside_linears(),
        dtype=model.disk_dtype,
    )
    assemble(
        folder,
        base=base,
        config=facts.config,
        quantization_config=method.quantization_config(context),
        side_files=[],
    )
    return method, blocks


def intended(base: Path, outputs: Mapping[int, BlockOutput], blocks: str) -> nn.Module:
    """The base model with the dequantized weights and changed norms in their places."""
    model: nn.Module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for index, output in outputs.items():
            block = model.get_submodule(f"{blocks}.{index}")
            for name, weight in output.weights.items():
                weight_view(block.get_submodule(name)).copy_(weight)
            for name, value in output.params.items():
                path, _, leaf = name.rpartition(".")
                if hasattr(block.get_submodule(path), leaf):
                    block.get_parameter(name).copy_(value)
    return model


def difference(one: nn.Module, other: nn.Module) -> float:
    ids = torch.randint(3, VOCABULARY, (2, 48), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        a: Tensor = one(input_ids=ids).logits.float()
        b: Tensor = other(input_ids=ids).logits.float()
    return float((a - b).abs().max() / b.abs().max())


def flip_one_code(model: nn.Module, output: BlockOutput, blocks: str) -> None:
    """Move one weight of the first block to the next value that its group uses."""
    name, weight = next(iter(output.weights.items()))
    row = weight[0, :GROUP_SIZE]
    values = row.unique()
    step = (values[1:] - values[:-1]).min()
    with torch.no_grad():
        weight_view(model.get_submodule(f"{blocks}.0.{name}"))[0, 0] += step


@pytest.mark.parametrize("model_type", CONFIGS)
@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_four_bits_load_in_transformers_and_compute_what_was_intended(
    model_type: str, method: MethodName, tmp_path: Path
) -> None:
    base = save_family(model_type, tmp_path / "base")
    group_size = "auto" if method == "bitsandbytes" else GROUP_SIZE
    settings = Settings(method=method, bits=4, group_size=group_size)
    recording, blocks = quantize(base, tmp_path / "cell", settings)
    expected = intended(base, recording.outputs, blocks)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "cell", dtype=torch.float32)
    found = difference(loaded, expected)
    assert found < TOLERANCE
    flip_one_code(expected, recording.outputs[0], blocks)
    assert difference(loaded, expected) > TOLERANCE


@pytest.mark.parametrize("model_type", CONFIGS)
def test_llm_int8_weights_load_in_transformers_as_they_were_intended(model_type: str, tmp_path: Path) -> None:
    base = save_family(model_type, tmp_path / "base")
    recording, blocks = quantize(base, tmp_path / "cell", Settings(method="bitsandbytes", bits=8))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "cell", dtype=torch.float32)
    for index, output in recording.outputs.items():
        block = loaded.get_submodule(f"{blocks}.{index}")
        for name, weight in output.weights.items():
            module = block.get_submodule(name)
            assert module.weight.dtype == torch.int8
            found = module.weight.data.float() * module.weight.SCB.float()[:, None] / 127
            assert torch.allclose(found, weight, rtol=0, atol=1e-6)
