"""The checks of a base model by its small files and headers: the same for a folder and for a repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture.config_values import check_values, value_notes
from quantize_lib.architecture.families import check_head, check_type
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.source.foreign_code import check_code
from quantize_lib.source.headers import INDEX, SINGLE
from quantize_lib.source.listing import Listing, check_pointers
from quantize_lib.source.model_files import CONFIG, parse_config
from quantize_lib.source.quantized import check_full
from quantize_lib.source.recognise import adapter_note, no_config
from quantize_lib.source.wrapped import check_names


def read_config(listing: Listing) -> dict[str, Any]:
    """config.json of a model that can be quantized, as far as it alone says.

    Raises:
        SourceError: where it is missing or cannot be used, or one of the model's files is a Git LFS pointer.
    """
    check_pointers(listing)
    if CONFIG not in listing.sizes:
        raise no_config(listing)
    config = parse_config(listing.read(CONFIG))
    check_type(config)
    if not listing.model.trust_remote_code:
        # The model's own config class has its own types.
        check_values(config)
    check_code(listing, config)
    return config


def check_model(
    listing: Listing, config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]
) -> tuple[str, ...]:
    """Refuse weights that are no full-precision model's of that config, by their names and dtypes.

    Returns:
        What is to be told of the model, as `Architecture.notes`.

    Raises:
        SourceError: saying what they are instead.
    """
    notes = check_full(listing.model.id, config, tensors)
    check_names(listing.model.id, config, tensors)
    check_head(config, tensors.keys())
    return (*notes, *value_notes(config), *_index_note(listing), *adapter_note(listing))


def _index_note(listing: Listing) -> tuple[str, ...]:
    index = {} if SINGLE in listing.sizes else listing.json(INDEX)
    if not index or isinstance(index.get("metadata"), dict):
        return ()
    return (f"{INDEX} has no `metadata`, without which transformers does not load the base model",)
