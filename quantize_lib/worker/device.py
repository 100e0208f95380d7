"""Where a job computes, and how much memory that took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantize_lib.devices import DeviceName
from quantize_lib.errors import UsageError
from quantize_lib.process_memory import peak_resident_bytes

if TYPE_CHECKING:
    import torch


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


def peak_memory(device: str) -> int:
    """Of the device on CUDA, else of this process, in bytes."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return peak_resident_bytes()
