"""Where a job is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from quantize_lib.errors import UsageError

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(name: DeviceName) -> torch.device:
    """The device that was asked for; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: where this machine does not have it.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    if not available[name]:
        reason = (
            "PyTorch was installed without CUDA"
            if name == "cuda" and torch.version.cuda is None
            else f"PyTorch {torch.__version__} finds no such device here"
        )
        raise UsageError(
            f"device {name}: {reason}",
            hint="Available: " + ", ".join(key for key, value in available.items() if value) + ", auto.",
        )
    return torch.device(name)
