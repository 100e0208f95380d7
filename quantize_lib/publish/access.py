"""Who may see what is published: nobody who may not see the base model, unless the manifest confirms it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quantize_lib.source.facts import Terms
from quantize_lib.targets import PublishSpec


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a repository is to be seen.

    Attributes:
        private: seen by its namespace alone.
        gated: who wants it must ask; None where that is left as it is.
        reason: why it is more closed than the manifest asked for; None where it is not.
    """

    private: bool
    gated: Literal["auto", "manual"] | None = None
    reason: str | None = None


def access(spec: PublishSpec, terms: Terms | None) -> Access:
    """How a model made from a base with these terms is published.

    Args:
        terms: None where they are not known, which counts as private.
    """
    if spec.private or spec.terms_allow_public:
        return Access(private=spec.private)
    if terms is None or terms.private:
        what = "the base model is private" if terms is not None else "the base model's terms are not known"
        return Access(private=True, reason=f"{what}, so it is to be private; {_WAY_OUT}")
    if terms.gated is not None:
        return Access(
            private=False,
            gated=terms.gated,
            reason=f"the base model is gated, so it is published gated; {_WAY_OUT}",
        )
    return Access(private=False)


_WAY_OUT = "`publish.terms_allow_public: true` confirms that its terms allow an open one"
