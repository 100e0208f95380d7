"""Reads pickled weights, once, into safetensors: everything after that reads those.

Only tensors are read (`torch.load(weights_only=True)`), and only in the process that quantizes, which for
such a model runs in a container: PyTorch's reader has let code through before (CVE-2025-32434).
"""

from __future__ import annotations

import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.errors import SourceError
from quantize_lib.job.job_file import JobModel
from quantize_lib.reporting import Reporter
from quantize_lib.source.headers import INDEX, SINGLE
from quantize_lib.source.model_files import CONFIG, side_files
from quantize_lib.source.pickled import PICKLED, PICKLED_INDEX, parse_pickled_index

if TYPE_CHECKING:
    from torch import Tensor

_COPY = ".base"
_HEADER_TENSORS = 1024
"""Room in a shard's header; a model with more tensors gets more shards."""
_REASON = re.compile(r"[^\n]{,80}[Uu]nsupported [^\n]{1,120}")
"""In PyTorch's long text, which also says how to run the code."""
_NOT_TENSORS = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""What PyTorch's reader raises for files that are something else, or damaged."""


@contextmanager
def as_safetensors(model: JobModel, output: Path, reporter: Reporter) -> Iterator[JobModel]:
    """The model with its weights in safetensors: itself, or where they are pickled a copy.

    Args:
        output: gets the copy, which is removed at the end.

    Raises:
        SourceError: where the pickles hold anything but tensors, or are damaged.
        CheckpointError: where the disk is full.
    """
    folder = model.path
    if not model.allow_pickle or (folder / SINGLE).is_file() or (folder / INDEX).is_file():
        yield model
        return
    copy = output / _COPY / folder.name
    # A killed process may have left one, half written.
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.mkdir(parents=True)
    try:
        _convert(folder, copy, reporter)
        for path in (folder / CONFIG, *side_files(folder, code=model.trust_remote_code)):
            target = copy / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
        yield replace(model, path=copy)
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)


def _convert(folder: Path, copy: Path, reporter: Reporter) -> None:
    from quantize_lib.checkpoint.shards import ShardWriter, is_writable

    index = folder / PICKLED_INDEX
    files = [PICKLED]
    if not (folder / PICKLED).is_file() and index.is_file():
        files = sorted(set(parse_pickled_index(index.read_bytes()).values()))
    with (
        ShardWriter(copy, tensors=_HEADER_TENSORS) as writer,
        reporter.progress("Reading pickled weights", len(files), "file") as progress,
    ):
        for file in files:
            for name, tensor in _load(folder / file).items():
                if not is_writable(tensor):
                    raise SourceError(
                        f"{file}: the tensor {name!r:.100} is {tensor.dtype}, {tensor.layout}",
                        hint="Save the model once with transformers' save_pretrained.",
                    )
                writer.write({name: tensor})
            progress.advance()
        writer.finish()


def _load(path: Path) -> Mapping[str, Tensor]:
    """The tensors of one file, mapped: their bytes are read when each is written."""
    import torch

    try:
        # Files from before PyTorch 1.6 are no archives, and cannot be mapped.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _NOT_TENSORS as error:
        raise SourceError(
            f"{path.name} cannot be read as tensors and nothing else: {_reason(error)}",
            hint="The file is damaged, or would run code. Choose a revision with *.safetensors.",
        ) from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in loaded.items()
    ):
        raise SourceError(
            f"{path.name} is no dictionary of tensors by name",
            hint="Choose a revision with *.safetensors.",
        )
    return loaded


def _reason(error: Exception) -> str:
    """Why a file is refused; it may quote the file."""
    found = _REASON.search(str(error))
    if found is not None:
        shown = found[0]
    elif isinstance(error, pickle.UnpicklingError):
        shown = "it is no pickle of tensors"
    else:
        shown = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "".join(char for char in shown if char.isprintable())
