"""The versions of everything that has a part in a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from quantize_lib import __version__
from quantize_lib.formats import FORMATS

_LIBRARIES = (
    "torch",
    "transformers",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "datasets",
    "numpy",
)


def versions() -> dict[str, str]:
    """The versions of everything that has a part in the result."""
    found = {"model-quantizer": __version__, "python": platform.python_version()}
    loaders = (name for entry in FORMATS.values() for name in (*entry.requirements, *entry.written_by))
    for name in dict.fromkeys((*_LIBRARIES, *loaders)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
