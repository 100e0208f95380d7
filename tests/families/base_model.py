"""A base model as transformers alone knows it: its tensors on disk, its class, its logits."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from quantize_lib.files import read_json, write_json
from quantize_lib.formats import format_of_config
from quantize_lib.formats.loading import LoadRequest

_EXPERT = re.compile(r"^(?P<experts>.*)\.(?P<index>\d+)\.(?P<leaf>gate_proj|up_proj|down_proj)$")
_WEIGHT = ".weight"
_SHOWN = 4

Logits = Tensor
"""Float32 (tokens, vocabulary)."""


class Wrong(Exception):  # noqa: N818 - a verdict
    """A checkpoint is not good; the text says why."""


class Base:
    """A base model.

    Args:
        ids: held-out text, int64 (rows, length).
        work: an existing folder for temporary files.
    """

    def __init__(self, folder: Path, ids: Tensor, work: Path) -> None:
        self.folder = folder
        self.ids = ids
        self.tensors = read_tensors(folder)
        self.config = read_json(folder / "config.json")
        self.model_class = getattr(transformers, self.config["architectures"][0])
        self._work = work

    @cached_property
    def model(self) -> nn.Module:
        """In float32, in the class that the config names."""
        return load(self.model_class, self.folder, "float32")[0]

    @cached_property
    def logits(self) -> Logits:
        """Of the held-out text."""
        return logits_of(self.model, self.ids)

    @cached_property
    def noise(self) -> float:
        """How far the logits are from those that the model gives when it computes in its own dtype."""
        model, _ = load(self.model_class, self.folder, "auto")
        return distance(logits_of(model, self.ids), self.logits)

    @cached_property
    def _transposed(self) -> tuple[str, ...]:
        return tuple(name for name, module in self.model.named_modules() if isinstance(module, Conv1D))

    def _is_transposed(self, layer: str) -> bool:
        """Whether the weight on disk is (in, out)."""
        return any(layer == one or one.endswith(f".{layer}") for one in self._transposed)

    def stored_name(self, name: str) -> str | None:
        """A tensor's name in the base's files, which may lack the base model's prefix."""
        while name and name not in self.tensors:
            name = name.partition(".")[2]
        return name if name.count(".") > 1 or name in self.tensors else None

    def sources(self, layer: str) -> set[str]:
        """The base's tensors that hold a layer's weight, or it and others."""
        if stored := self.stored_name(layer + _WEIGHT):
            return {stored}
        if (expert := _EXPERT.match(layer)) is None:
            return set()
        names = (f"{expert['experts']}.{leaf}" for leaf in ("gate_up_proj", "down_proj"))
        return {name for name in names if name in self.tensors}

    def weight(self, layer: str) -> Tensor:
        """A layer's weight in full precision: float32 (out, in).

        Raises:
            Wrong: where there is no such layer.
        """
        if stored := self.stored_name(layer + _WEIGHT):
            weight = self.tensors[stored].float()
            return weight.T if self._is_transposed(layer) else weight
        if (expert := _EXPERT.match(layer)) and (sources := self.sources(layer)):
            # Llama 4's, (experts, in, out): gate and up are halves of one tensor.
            kind = "down_proj" if expert["leaf"] == "down_proj" else "gate_up_proj"
            (name,) = (one for one in sources if one.endswith(kind))
            matrix = self.tensors[name][int(expert["index"])].float().T
            return matrix if kind == "down_proj" else matrix.chunk(2)[expert["leaf"] == "up_proj"]
        try:
            return self.model.get_parameter(layer + _WEIGHT).detach()
        except AttributeError:
            raise Wrong(f"{layer} is quantized, and the base model has no such layer") from None

    def logits_with(self, kept: Mapping[str, Tensor], layers: Mapping[str, Tensor]) -> Logits:
        """The logits of the class without quantization, with these tensors and layers' weights.

        Args:
            kept: by their names on disk.
            layers: (out, in) by the layers' names.

        Raises:
            Wrong: where a tensor is missing.
        """
        tensors = {self.stored_name(name) or name: tensor for name, tensor in kept.items()}
        fused: dict[str, dict[int, dict[str, Tensor]]] = {}
        for layer, weight in layers.items():
            if (expert := _EXPERT.match(layer)) and f"{expert['experts']}.down_proj" in self.tensors:
                of_index = fused.setdefault(expert["experts"], {}).setdefault(int(expert["index"]), {})
                of_index[expert["leaf"]] = weight
            else:
                name = self.stored_name(layer + _WEIGHT) or layer + _WEIGHT
                tensors[name] = weight.T if self._is_transposed(layer) else weight
        for experts, by_index in fused.items():
            ordered = [by_index[index] for index in sorted(by_index)]
            gate_up = [torch.cat([one["gate_proj"], one["up_proj"]]).T for one in ordered]
            tensors[f"{experts}.gate_up_proj"] = torch.stack(gate_up)
            tensors[f"{experts}.down_proj"] = torch.stack([one["down_proj"].T for one in ordered])
        folder = self._work / "full-precision"
        folder.mkdir()
        stored = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        write_json(folder / "config.json", self.config)
        model, _ = load(self.model_class, folder, "float32")
        shutil.rmtree(folder)
        return logits_of(model, self.ids)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def load(model_class: Any, folder: Path, dtype: str) -> tuple[nn.Module, list[str]]:
    """A model as plain transformers loads it, and the tensors that it does not take.

    Raises:
        Wrong: where tensors are missing or have another shape.
    """
    model, info = model_class.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    for key in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, info.get(key) or ())):
            raise Wrong(f"loaded, it has {key.replace('_', ' ')}: {_some(names)}")
    return model.eval(), sorted(info.get("unexpected_keys") or ())


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:_SHOWN])} ({len(names)})"


def logits_of(model: nn.Module, ids: Tensor) -> Logits:
    """The logits for ids (rows, length)."""
    with torch.inference_mode():
        found: Tensor = model(input_ids=ids, use_cache=False).logits
    return found.float().flatten(0, 1).clone()


def distance(one: Logits, other: Logits) -> float:
    """Root of the mean square of the difference, relative to the spread of `other`; of the middle token.

    With 8 bits the mean says nothing of a mixture: what few tokens whose router chooses another expert do to
    it is chance.
    """
    return float((one - other).pow(2).mean(-1).sqrt().median() / other.std())


def loaded_logits(base: Base, folder: Path, dtype: str) -> Logits:
    """The logits of a checkpoint as a user loads it.

    Raises:
        Wrong: where it lacks tensors, or has some that the class does not take and the base does not have.
    """
    quantization = read_json(folder / "config.json")["quantization_config"]
    if quantization["quant_method"] == "gguf":
        # By transformers itself where it reads such a file.
        request = LoadRequest(folder=str(folder), dtype=dtype, device="cpu", trust_remote_code=False)
        chosen = format_of_config(quantization)
        assert chosen is not None
        loaded = chosen.load(request, quantization)
        return logits_of(loaded.model.eval(), base.ids)
    model, left = load(base.model_class, folder, dtype)
    if ours := [name for name in left if name not in base.tensors]:
        raise Wrong(f"loaded, it has tensors that nobody reads: {_some(ours)}")
    return logits_of(model, base.ids)
