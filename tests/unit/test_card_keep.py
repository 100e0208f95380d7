"""What a card carries from one publication to the next: hand-written sections, and what was taken back."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.card.keep import MAX_KEPT, kept_sections, with_sections
from quantize_lib.card.state import MAX_REJECTED, card_state, with_rejected
from quantize_lib.errors import PublishError

FRONT = "---\nlicense: mit\nmodel_quantizer:\n  fingerprint: abc1\n  version: 0.1.0\n---\n"
NOTES = """<!-- model-quantizer: keep notes -->
Ours.

---
license: gpl
---
<!-- model-quantizer: end notes -->"""


def front_matter(card: str) -> dict[str, Any]:
    """A card's metadata as the Hub's own client reads it."""
    parsed: Any = ModelCard(card)
    metadata: dict[str, Any] = parsed.data.to_dict()
    return metadata


def test_a_section_between_markers_survives_in_the_next_card() -> None:
    old = f"{FRONT}\n# Old\n\n{NOTES}\n\nThis goes.\n"
    new = with_sections(f"{FRONT}\n# New\n", kept_sections(old))
    assert new == f"{FRONT}\n# New\n\n{NOTES}\n"


def test_several_sections_keep_their_order() -> None:
    other = NOTES.replace("notes", "usage")
    assert kept_sections(f"# x\n\n{other}\ntext\n{NOTES}") == (other, NOTES)


def test_a_section_that_the_card_has_already_is_not_added_again() -> None:
    other = NOTES.replace("notes", "usage")
    card = f"{FRONT}\n# Mine\n\n{NOTES}\n\nEnd.\n"
    assert with_sections(card, (NOTES,)) == card
    once = with_sections(card, (NOTES, other))
    assert with_sections(card, kept_sections(once)) == once


def test_what_was_taken_back_is_noted_without_touching_a_persons_words() -> None:
    card = FRONT.replace("license: mit", "license: mit\nlanguage: [en, no] # ours") + "# Mine\n"
    noted = with_rejected(card, ["abc2"])
    assert "language: [en, no] # ours\n" in noted
    assert card_state(front_matter(noted)) == card_state(
        {
            **front_matter(card),
            "model_quantizer": {"fingerprint": "abc1", "version": "0.1.0", "rejected": ["abc2"]},
        }
    )
    assert with_rejected(noted, []) == card


def test_a_kept_section_changes_no_metadata() -> None:
    assert front_matter(with_sections(f"{FRONT}\n# New\n", (NOTES,)))["license"] == "mit"


def test_markers_in_the_front_matter_or_within_a_line_are_none() -> None:
    front = "---\nnote: |\n  <!-- model-quantizer: keep a -->\n---\n"
    assert kept_sections(front + "# x\nsee `<!-- model-quantizer: keep a -->`\n") == ()


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("<!-- model-quantizer: keep a -->\nlost?\n", "`keep a` without its `end a`"),
        ("lost?\n<!-- model-quantizer: end a -->\n", "`end a` without its `keep a`"),
        (
            "<!-- model-quantizer: keep a -->\n<!-- model-quantizer: end b -->\n",
            "`end b` without its `keep b`",
        ),
        (
            "<!-- model-quantizer: keep a -->\n<!-- model-quantizer: keep b -->\n",
            "`keep b` without its `end b`",
        ),
    ],
)
def test_a_marker_without_its_counterpart_is_an_error_not_a_loss(card: str, said: str) -> None:
    with pytest.raises(PublishError, match=said):
        kept_sections(card)


def test_sections_without_end_are_refused() -> None:
    with pytest.raises(PublishError, match="longer than"):
        kept_sections(NOTES.replace("Ours.", "x" * MAX_KEPT))


lines = st.lists(
    st.sampled_from(["", "a", "# b", "---", "```", "<!-- x -->", "é"]) | st.text("ab \r#-", max_size=5),
    max_size=6,
)


@given(lines, lines, lines)
def test_publishing_the_same_again_changes_nothing(
    before: list[str], inside: list[str], new: list[str]
) -> None:
    """A card that was merged once merges to itself, or a repeated publication would never settle."""
    section = [
        "<!-- model-quantizer: keep a -->",
        *inside,
        "<!-- model-quantizer: end a -->",
    ]
    card = FRONT + "\n".join(new)
    once = with_sections(card, kept_sections("\n".join(["# t", *before, *section])))
    assert "\n".join(section) in once
    assert with_sections(card, kept_sections(once)) == once


def test_a_cards_state_is_read_back() -> None:
    state = card_state(
        {"model_quantizer": {"fingerprint": "abc1", "version": "0.1.0", "rejected": ["de", "ad"]}}
    )
    assert state is not None
    assert (state.fingerprint, state.version, state.rejected) == ("abc1", "0.1.0", ("de", "ad"))


@pytest.mark.parametrize("said", [None, "abc", [], 7])
def test_a_card_without_our_key_has_no_state(said: object) -> None:
    assert card_state({"model_quantizer": said}) is None


def test_what_is_no_fingerprint_or_version_is_not_believed() -> None:
    hostile = {"fingerprint": "::error::x", "version": "1\n2", "rejected": ["ok", "ab", 3, "ef" * 100]}
    state = card_state({"model_quantizer": hostile})
    assert state is not None
    assert (state.fingerprint, state.version, state.rejected) == (None, None, ("ab",))


def test_what_was_taken_back_is_remembered_on_the_card() -> None:
    card = with_rejected(f"{FRONT}\n# New\n", ["de", "ad", "de", "abc1"])
    state = card_state(front_matter(card))
    assert state is not None
    assert (state.fingerprint, state.rejected) == ("abc1", ("de", "ad"))
    assert ModelCard(card).text == "\n# New\n"
    assert with_rejected(card, ["de", "ad"]) == card
    assert front_matter(with_rejected(card, [])) == front_matter(FRONT)


def test_only_so_many_rejections_are_remembered() -> None:
    many = [f"{number:04x}" for number in range(2 * MAX_REJECTED)]
    state = card_state(front_matter(with_rejected(FRONT, many)))
    assert state is not None
    assert state.rejected == tuple(many[-MAX_REJECTED:])
