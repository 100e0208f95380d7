"""Where checkpoints go, as a manifest says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantize_lib.options import OptionValues


@dataclass(frozen=True, kw_only=True)
class PublishSpec(OptionValues):
    """Where checkpoints go; `targets.publish_spec` makes one.

    Attributes:
        to: the target's name.
        rebuild_on_new_version: cells that another version of this tool published are built again.
        terms_allow_public: a gated or private base may become an open, public model.
        card: what the cards say in place of the base model's (`license`, `license_name`, `license_link`,
            `language`), and further `tags`; in the Hub's words.
    """

    to: str
    namespace: str | None = None
    name: str = "{model}-{method}-{bits}bit"
    private: bool = True
    rebuild_on_new_version: bool = False
    terms_allow_public: bool = False
    card: Mapping[str, Any] = field(default_factory=dict)
