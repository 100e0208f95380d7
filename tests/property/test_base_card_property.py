"""Cards of any kind: nothing raises, and what is taken is what the Hub takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.source import card_rules
from quantize_lib.source.base_card import NOTE, parse_card

WORDS = st.sampled_from(
    [
        *(*card_rules.KEYS, "extra_gated_prompt", "---", "- ", ": ", "[", "]", "{", "}", "\n", "\n", "\t"),
        *("  ", "&a ", "*a", "no", "en", "MIT", "1.0", "null", "2020-99-99", "!!python/tuple ", "<<", "|"),
        *("'", '"', "#", "é", "\x00", "\ud7ff"),
    ]
)


@given(st.lists(WORDS, max_size=40).map("".join), st.booleans())
def test_any_text_is_a_card(text: str, closed: bool) -> None:
    card = parse_card(("---\n" + text + ("\n---\n" if closed else "")).encode())
    assert set(card.fields) <= set(card_rules.KEYS)
    assert all(note.startswith(NOTE) and note.isprintable() for note in card.notes)
    for value in card.fields.values():
        assert all(item and isinstance(item, str) for item in (value if isinstance(value, list) else [value]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_card(data: bytes) -> None:
    parse_card(data)
    parse_card(b"---\n" + data)


@given(
    st.lists(
        st.sampled_from(["en", "no", "sv", "on", "1", "null", "~", "{a: b}", "English", "EN"]), min_size=1
    )
)
def test_no_item_of_a_list_takes_its_neighbours_away(items: list[str]) -> None:
    known = {"en": "en", "no": "no", "sv": "sv", "English": "en", "EN": "en"}
    wanted = list(dict.fromkeys(known[item] for item in items if item in known))
    card = parse_card(f"---\nlanguage: [{', '.join(items)}]\n---\n".encode())
    assert card.fields.get("language", []) == wanted


@given(st.text(max_size=60))
def test_the_hubs_words_for_any_text_stay_what_they_are(text: str) -> None:
    for words in (
        card_rules.license_id,
        card_rules.license_name,
        card_rules.license_link,
        card_rules.language_code,
        card_rules.pipeline_tag,
    ):
        if found := words(text):
            assert words(found) == found
    assert list(card_rules.faults({"license_name": card_rules.license_name(text) or "a"})) == []
