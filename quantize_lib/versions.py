"""The versions of everything that has a part in a result."""

from __future__ import annotations

import platform
from collections.abc import Iterable
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
        if (release := _release(name)) is not None:
            found[name] = release
    return found


def missing(packages: Iterable[str]) -> list[str]:
    """Those that are not installed here."""
    return [name for name in packages if _release(name) is None]


def _release(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
