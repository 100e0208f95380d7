"""Types of GGUF files beside automatic ones of the same size: KL divergence on the demo's texts.

    python -m benchmarks.gguf_types              # Q4_0, Q4_K_M, Q5_K_M; half an hour on 2 cores

Where the demo's model comes out of a package, its weights lie on the grid of 4 bits that they were stored in,
which some types then hold without loss. So every weight of the blocks is moved within its cell of that grid,
at random. What comes of it is the base model here: somewhat worse than the demo's, and on no type's grid.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.checkpoints import quantize
from benchmarks.machine import ROOT
from quantize_lib.architecture.assignment import stored_types, whole_model
from quantize_lib.gguf_file.types import tensor_bytes
from quantize_lib.gguf_file.writer import header_bytes
from quantize_lib.methods import settings_of
from quantize_lib.source import read_facts
from quantize_lib.source.model_spec import ModelSpec

DEMO = ROOT / "examples" / "demo" / "work"
TYPES = ("Q4_0", "Q4_K_M", "Q5_K_M")
_GROUP, _STEPS = 32, 15
"""Of the grid: weights that share a scale, and steps from the least of them to the largest."""


def main() -> int:
    """Run and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("types", nargs="*", default=TYPES, help=f"default: {' '.join(TYPES)}")
    parser.add_argument("--model", type=Path, default=DEMO / "model", help="default: the demo's")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gguf-types-", dir=Path.cwd()) as temporary:
        base = off_the_grid(words.model, Path(temporary) / words.model.name)
        sizes = {kind: file_bytes(base, kind) for kind in words.types}
        entries: list[dict[str, Any]] = [{"method": "gguf", "type": list(words.types)}]
        entries += [
            {"method": "gguf", "type": "auto", "target_size": f"{size / 1e6:.6f} MB"}
            for size in sizes.values()
        ]
        texts = [str(DEMO / name) for name in ("held-out.jsonl", "reviews.jsonl")]
        report = quantize(
            Path(temporary),
            base,
            entries,
            calibration=DEMO / "calibration.jsonl",
            samples=32,
            sequence_length=512,
            evaluate={
                "perplexity": {"files": texts, "samples": 10, "sequence_length": 512},
                "conversations": False,
            },
            say=lambda line: print(line, file=sys.stderr),
        )
    for cell in report["cells"]:
        print(f"{cell['id']:<50} {cell['size_after']:>12,} bytes  KL {cell['kl_divergence']:.4f}")
    return 0


def off_the_grid(model: Path, folder: Path) -> Path:
    """A copy of a model in one file, the weights of its blocks moved at random by up to half a step."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    generator = torch.Generator().manual_seed(0)

    def moved(name: str, weight: Tensor) -> Tensor:
        if weight.dim() != 2 or ".layers." not in name:
            return weight.bfloat16()
        groups = weight.float().reshape(-1, _GROUP)
        step = (groups.amax(1, keepdim=True) - groups.amin(1, keepdim=True)) / _STEPS
        shift = torch.rand(groups.shape, generator=generator) - 0.5
        return (groups + shift * step).reshape(weight.shape).bfloat16()

    with safe_open(model / "model.safetensors", "pt") as file:
        tensors = {name: moved(name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def file_bytes(base: Path, kind: str) -> int:
    """How large a file of a type is."""
    facts = read_facts(ModelSpec(id=base.name, name=base.name, local=base), base, revision="")
    settings = settings_of("gguf", 4, {"type": kind})
    whole, types = whole_model(facts, settings), stored_types(facts, settings)
    weights = sum(tensor_bytes(types.get(name, "F32"), shape) for name, shape in whole.shapes.items())
    return weights + header_bytes(base, whole.config, whole.shapes)


if __name__ == "__main__":
    sys.exit(main())
