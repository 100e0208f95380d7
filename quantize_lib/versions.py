"""The versions of everything that has a part in a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from quantize_lib import __version__

_LIBRARIES = (
    "torch",
    "transformers",
    "gptqmodel",
    "bitsandbytes",
    "optimum",
    "accelerate",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "datasets",
    "numpy",
)


def versions() -> dict[str, str]:
    """The versions of everything that has a part in the result."""
    found = {"model-quantizer": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
