"""Whether the Python code that a model's files name is there, for models whose code is to be run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quantize_lib.errors import SourceError
from quantize_lib.source.listing import Listing
from quantize_lib.wording import show

_MODEL = "AutoModelForCausalLM"
_TOKENIZER_CONFIG = "tokenizer_config.json"


def check_code(listing: Listing, config: Mapping[str, Any]) -> None:
    """Refuse code that the process which runs it would not find: it has no network.

    Args:
        config: `config.json`.

    Raises:
        SourceError: where `auto_map` names code of another repository, or a file that is missing.
    """
    if not listing.model.trust_remote_code:
        return
    for reference in (*_named(config), *_named(listing.json(_TOKENIZER_CONFIG))):
        repository, other, place = reference.rpartition("--")
        if other:
            raise SourceError(
                f"{listing.model.id}: auto_map names code in another repository ({show(reference)}), "
                "which is not "
                f"fetched",
                hint=f"Leave trust_remote_code out, or copy the code of {show(repository)} into the "
                "repository.",
            )
        file = place.partition(".")[0] + ".py"
        if file not in listing.sizes:
            raise SourceError(
                f"{listing.model.id}: auto_map names {show(reference)}, but there is no {show(file)}",
                hint="Leave trust_remote_code out, or choose a revision that holds the code.",
            )


def brings_class(config: Mapping[str, Any], *, trusted: bool) -> bool:
    """Whether the model's class is code of its own, which is to be run.

    Args:
        config: `config.json`.
        trusted: the model's `trust_remote_code`.
    """
    named = config.get("auto_map")
    return trusted and isinstance(named, Mapping) and _MODEL in named


def _named(described: Mapping[str, Any]) -> Iterator[str]:
    """The classes in an `auto_map`; a tokenizer's has a pair for each, or is one itself."""
    named = described.get("auto_map")
    for value in named.values() if isinstance(named, Mapping) else [named]:
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))
