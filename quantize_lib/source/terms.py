"""What a base model's licence asks of a model that is made from it.

Not legal advice: a few licences ask for something that a program can see to, and that is all it does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from quantize_lib.source.card_rules import OTHER, license_id
from quantize_lib.source.facts import Terms

_LLAMA = "Copyright © Meta Platforms, Inc. All Rights Reserved."


@dataclass(frozen=True, kw_only=True)
class _Conditions:
    """Of one licence.

    Attributes:
        prefix: how a derived model's name must begin; None where that is free.
        pattern: the same for a name without spaces.
        display: what its page must show.
        notice: the text of the NOTICE file that goes with every copy.
        link: where that is written.
    """

    notice: str
    link: str
    prefix: str | None = None
    pattern: str = ""
    display: str | None = None


def _llama(version: str) -> _Conditions:
    """Section 1.b of the Llama Community Licences from 3.1 on."""
    return _Conditions(
        prefix="Llama",
        pattern="llama",
        display="Built with Llama",
        notice=f"Llama {version} is licensed under the Llama {version} Community License, {_LLAMA}",
        link=f"https://www.llama.com/llama{version.replace('.', '_')}/license/",
    )


_BY_LICENSE: Mapping[str, _Conditions] = {
    "llama3": _Conditions(
        prefix="Llama 3",
        pattern="llama[-_.]?3",
        display="Built with Meta Llama 3",
        notice=f"Meta Llama 3 is licensed under the Meta Llama 3 Community License, {_LLAMA}",
        link="https://www.llama.com/llama3/license/",
    ),
    "llama3.1": _llama("3.1"),
    "llama3.2": _llama("3.2"),
    "llama3.3": _llama("3.3"),
    "llama4": _llama("4"),
    "gemma": _Conditions(
        notice="Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms",
        link="https://ai.google.dev/gemma/terms",
    ),
}
"""By the licence's id on the Hub (https://huggingface.co/docs/hub/repositories-licenses)."""


def terms_of(
    card: Mapping[str, Any],
    *,
    gated: str | bool | None = None,
    private: bool = False,
    restricted: bool = False,
) -> Terms:
    """The terms of a base model.

    Args:
        card: its card's metadata. Its `extra_gated_*` keys tell that the model is gated.
        gated, private: as the Hub says.
        restricted: the card of a folder tells that it came from a gated model, or cannot be read.
    """
    kind: Literal["auto", "manual"] | None = None
    if gated or restricted or any(key.startswith("extra_gated_") for key in card):
        # Whatever else the Hub may come to say, it is not "to everybody".
        kind = "auto" if gated == "auto" else "manual"
    return Terms(license=_license(card), gated=kind, private=private)


def _license(card: Mapping[str, Any]) -> str | None:
    """The licence's id, its name where the id is `other`; of several the first that asks for something."""
    stated, name = card.get("license"), card.get("license_name")
    if stated in (None, OTHER, [OTHER]) and isinstance(name, str):
        # `Llama 3.1 Community License` is one of the Hub's ids, too.
        return license_id(name)
    if isinstance(stated, str):
        return license_id(stated)
    several = [license_id(one) for one in stated if isinstance(one, str)] if isinstance(stated, list) else []
    return several[0] if len(several) == 1 else next((one for one in several if one in _BY_LICENSE), None)


def with_given(terms: Terms, given: Mapping[str, Any]) -> Terms:
    """Terms with the licence that `publish.card` says, where only that one asks for something."""
    said = _license(given)
    return replace(terms, license=said) if _conditions(terms) is None and said in _BY_LICENSE else terms


def name_warning(terms: Terms, repository: str) -> str | None:
    """Why the licence would not like a repository's name; None where it says nothing against it."""
    found = _conditions(terms)
    if found is None or found.prefix is None:
        return None
    if re.match(found.pattern, repository.rpartition("/")[2], re.IGNORECASE):
        return None
    return (
        f"the licence {terms.license} asks that the name of a model made from this one begin with "
        f"“{found.prefix}”, and {repository} does not ({found.link}); `publish.name` can say so"
    )


def display(terms: Terms) -> str | None:
    """What a derived model's card must show."""
    found = _conditions(terms)
    return None if found is None else found.display


def notice(terms: Terms) -> str | None:
    """The text of the notice file that the licence wants with every copy."""
    found = _conditions(terms)
    return None if found is None else f"{found.notice}\n"


def _conditions(terms: Terms) -> _Conditions | None:
    return _BY_LICENSE.get((terms.license or "").lower())
