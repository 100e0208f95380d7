"""Keeps what the proof of the walk found, so that a later process of the same job need not prove it anew."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as trees

from quantize_lib.engine.walk import Output, Route


@dataclass(frozen=True, kw_only=True)
class ProofFile:
    """A file with a proof.

    Attributes:
        key: digest of what the proof depends on.
    """

    path: Path
    key: str

    def load(self) -> tuple[Route, tuple[str, ...]] | None:
        """The route and the modules that are never called; None where there is no proof of this key."""
        try:
            kept = torch.load(self.path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return None
        if kept["key"] != self.key:
            return None
        outputs = {int(index): Output.of(like) for index, like in kept["outputs"].items()}
        return Route(outputs, tuple(kept["left"])), tuple(kept["uncalled"])

    def save(self, route: Route, uncalled: tuple[str, ...]) -> None:
        """Put a proof in the place of the one before.

        Raises:
            OSError: where the disk is full.
        """
        kept = {
            "key": self.key,
            "outputs": {index: _small(output.like) for index, output in route.outputs.items()},
            "left": list(route.left),
            "uncalled": list(uncalled),
        }
        # As bytes first: torch says of a full disk something else than that it is full.
        whole = io.BytesIO()
        torch.save(kept, whole)
        self.path.write_bytes(whole.getvalue())


def _small(like: Any) -> Any:
    """The same form, its tensors with memory for one value each."""
    return trees.tree_map_only(Tensor, lambda leaf: torch.zeros(1, dtype=leaf.dtype).expand(leaf.shape), like)
