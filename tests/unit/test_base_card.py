"""What is read of a base model's card, whatever people write there."""

from __future__ import annotations

from typing import Any

import pytest

from quantize_lib.source import card_rules
from quantize_lib.source.base_card import MAX_BYTES, NOTE, BaseCard, parse_card
from quantize_lib.source.card_lists import LANGUAGE_NAMES, LANGUAGES, LICENSES
from quantize_lib.source.terms import terms_of


def card(metadata: str) -> BaseCard:
    return parse_card(f"---\n{metadata}\n---\n# tiny\nlicense: wtfpl\n".encode())


@pytest.mark.parametrize(
    ("metadata", "fields"),
    [
        ("license: apache-2.0\nlanguage:\n- en\n- no\n- sv", {"language": ["en", "no", "sv"]}),
        ("license: apache-2.0\nlanguage: no", {"language": "no"}),
        ("license: apache-2.0\nlanguage: [no]", {"language": ["no"]}),
        ("license: [apache-2.0, mit]", {"license": ["apache-2.0", "mit"]}),
        ("license: apache-2.0\nlicense_name: 1.0", {"license_name": "1.0"}),
        ("license: apache-2.0\nlanguage: {en: 90, no: 10}", {"language": ["en", "no"]}),
        ("license: apache-2.0\nlanguage: [[en, de], fr]", {"language": ["en", "de", "fr"]}),
        ("license: apache-2.0\nlanguage: |\n  en\n  de", {"language": ["en", "de"]}),
        ("license: apache-2.0\nlanguage: English, French", {"language": ["en", "fr"]}),
        ("license: apache-2.0\nlanguage: en/no", {"language": ["en", "no"]}),
        ("license: ~\npipeline_tag: x", {"license": None, "pipeline_tag": "x"}),
        ('license: "apache-2.0\x07"', {}),
        ("license: apache-2.0\nx: 2020-99-99", {}),
    ],
)
def test_values_are_read_as_they_are_written(metadata: str, fields: dict[str, Any]) -> None:
    wanted = {"license": "apache-2.0"} | fields
    assert card(metadata) == BaseCard(fields={key: value for key, value in wanted.items() if value})


@pytest.mark.parametrize(
    ("metadata", "fields", "words"),
    [
        ("license: [apache-2.0, 1.0]", {"license": ["apache-2.0"]}, ["license", "`1.0`"]),
        ("license: 2024-01-01", {}, ["license", "`2024-01-01`"]),
        ("license: no\nlanguage: no", {"language": "no"}, ["license", "`no`"]),
        ("license: mit\nlicense_link: 5", {"license": "mit"}, ["license_link", "`5`"]),
        ("license: {name: mit}\nlanguage: en", {"language": "en"}, ["license", "a mapping"]),
        ("language: [en, null, 7, de]", {"language": ["en", "de"]}, ["language", "`null`", "`7`"]),
        ("language: [y, n, on]", {}, ["`y`, `n` and `on`"]),
        ("language: [en, {a: b}]", {"language": ["en"]}, ["`a`"]),
        ("language: en\nlanguage: [de, no]", {"language": ["de", "no"]}, ["`language` twice"]),
        ("license: mit\nlanguage:\n\t- en", {"license": "mit", "language": ["en"]}, ["tabs"]),
        ("license: !!python/tuple [mit]\nlanguage: en", {"language": "en"}, ["license", "a list"]),
        ("license: GPL-3.0-or-later", {"license": "gpl-3.0"}, ["`GPL-3.0-or-later`", "`gpl-3.0`"]),
        ("pipeline_tag: '!'", {}, ["pipeline_tag", "`!`"]),
    ],
)
def test_what_makes_no_sense_is_left_out_alone_and_told(
    metadata: str, fields: dict[str, Any], words: list[str]
) -> None:
    found = card(metadata)
    assert found.fields == fields
    assert not found.restricted
    (note,) = found.notes
    assert note.startswith(NOTE)
    assert not note.endswith(".")
    assert all(word in note for word in words)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("---\nlicense: mit\nlanguage: [en\n---\n", {"license": "mit"}),
        ("---\nlicense: mit\n x: y\nlanguage: [no, en]\n---\n", {"license": "mit", "language": ["no", "en"]}),
        ("---\n- a\n---\n", {}),
        ("---\nA line of text.\n---\n", {}),
        ("---\n" + "[" * 5000 + "\n---\n", {}),
        ("---\nlicense: mit\n# Tiny\n\nA model.\n", {"license": "mit"}),
        ("---\nlicense: mit\nx: '" + "y" * MAX_BYTES + "'\n---\n", {"license": "mit"}),
        ("---\nlanguage: *nothing\nlicense: mit\n---\n", {"license": "mit"}),
    ],
)  # fmt: skip
def test_of_a_card_that_is_no_yaml_is_kept_what_can_be_read_and_its_model_counts_as_restricted(
    text: str, fields: dict[str, Any]
) -> None:
    found = parse_card(text.encode()[:MAX_BYTES])
    assert found.fields == fields
    assert found.restricted
    assert any("whom the model is given to is not known" in note for note in found.notes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# None",
        "---\n# A rule above\n",
        "---\n---\n",
        "---\n# a comment\n---\n",
        "text\n---\na: b\n---\n",
    ],
)
def test_a_card_without_metadata_says_nothing(text: str) -> None:
    assert parse_card(text.encode()) == BaseCard()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_card_is_read_as_editors_write_it(encoding: str, newline: str) -> None:
    text = "\n---\nlicense: mit\nlanguage: [en]\n---\n".replace("\n", newline)
    assert parse_card(text.encode(encoding)).fields == {"license": "mit", "language": ["en"]}


@pytest.mark.parametrize(
    "key",
    ["extra_gated_prompt: Agree?", "extra_gated_fields:\n  Name: text", "extra_gated_heading: [a, {b: c}]"],
)
def test_conditions_of_whatever_kind_make_a_model_restricted(key: str) -> None:
    found = card(f"license: gemma\n{key}")
    assert found.restricted
    assert terms_of(found.fields, restricted=found.restricted).gated == "manual"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("end", ["", "x: [\n"])
def test_a_card_as_long_as_is_read_costs_seconds(end: str) -> None:
    lines = "".join(f"k{number}: [a, b]\n" for number in range(40_000))
    assert card(f"license: mit\n{lines}{end}").fields == {"license": "mit"}


def test_an_alias_bomb_costs_nothing() -> None:
    bomb = "a: &a [en, en]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert card(f"{bomb}language: *i").fields.get("language") in (None, ["en"])


@pytest.mark.parametrize(
    ("written", "id_of_hub"),
    [
        ("MIT", "mit"),
        ("MIT License", "mit"),
        ("Apache 2.0", "apache-2.0"),
        ("apache2", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("GPL-3.0+", "gpl-3.0"),
        ("LGPL-2.1-only", "lgpl-2.1"),
        ("GPLv3", "gpl-3.0"),
        ("GNU Affero General Public License v3.0", "agpl-3.0"),
        ("BSD 3-Clause", "bsd-3-clause"),
        ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("Creative Commons Attribution ShareAlike 4.0 International", "cc-by-sa-4.0"),
        ("Llama 3.1 Community License Agreement", "llama3.1"),
        ("Meta Llama 3", "llama3"),
        ("OpenRAIL++", "openrail++"),
        ("Mozilla Public License 2.0", "mpl-2.0"),
        ("tongyi-qianwen", "tongyi-qianwen"),
        ("Tongyi-Qianwen", "tongyi-qianwen"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("My own licence", "My own licence"),
    ],
)
def test_a_licence_is_put_into_the_hubs_words_where_it_is_sure(written: str, id_of_hub: str) -> None:
    assert card_rules.license_id(written) == id_of_hub


@pytest.mark.parametrize("one", LICENSES)
def test_every_licence_of_the_hub_stays_what_it_is(one: str) -> None:
    assert card_rules.license_id(one) == one
    assert card_rules.license_id(one.upper()) == one
    assert not list(card_rules.faults({"license": one}))


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("en", "en"), ("EN", "en"), ("English", "en"), ("en_US", "en"), ("en-US.UTF-8", "en"),
        ("zh-Hans-CN", "zh"), ("pt-BR", "pt"), ("deu", "deu"), ("Lao", "lo"), ("code", "code"),
        ("Multilingual", "multilingual"), ("Norwegian Bokmål", "nb"), ("xx", None), ("xx-US", None),
        ("Klingon", None), ("", None), ("e n", None),
    ],
)  # fmt: skip
def test_a_language_is_put_into_the_hubs_words_where_it_is_sure(written: str, code: str | None) -> None:
    assert card_rules.language_code(written) == code


def test_languages_are_those_of_the_standard() -> None:
    assert len(LANGUAGES) == 185
    assert all(len(code) == 2 and code.isascii() and code.islower() for code in LANGUAGES)
    assert LANGUAGE_NAMES["german"] == "de"


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("conversational", "text-generation"), ("Text Generation", "text-generation"),
        ("text_generation", "text-generation"), ("image-text-to-text", "image-text-to-text"), ("?", None),
    ],
)  # fmt: skip
def test_a_pipeline_is_put_into_the_hubs_words(written: str, tag: str | None) -> None:
    assert card_rules.pipeline_tag(written) == tag


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"license": "My own licence"}, ["license"]),
        ({"license": ["mit", "MIT OR Apache-2.0"]}, ["license"]),
        ({"license": "other", "license_name": "acme", "license_link": "./LICENSE.txt"}, ["license_link"]),
        ({"license_link": "example.org/l"}, ["license_link"]),
        ({"license_link": "https://"}, ["license_link"]),
        ({"license_link": "http://[::1"}, ["license_link"]),
        ({"license_link": "LICENSE"}, []),
        ({"license_link": "https://example.org/l"}, []),
        ({"license": "other", "license_name": "acme-1.0"}, []),
        ({"license": "new-on-the-hub"}, []),
        ({}, []),
    ],
)
def test_what_the_hub_is_sure_to_refuse_is_known(fields: dict[str, Any], keys: list[str]) -> None:
    assert [fault.key for fault in card_rules.faults(fields)] == keys


def test_a_licence_that_the_lists_lack_is_doubted_with_the_nearest_ones() -> None:
    (doubt,) = card_rules.doubts({"license": "apache-2.1"})
    assert "`apache-2.1`" in doubt
    assert "Perhaps you meant `apache-2.0`?" in doubt
    assert "publish.card" in doubt
    (doubt,) = card_rules.doubts({"license": "other"})
    assert "license_name" in doubt
    assert not list(card_rules.doubts({"license": ["mit"], "language": "en"}))


def test_the_manifests_licence_takes_the_base_cards_name_and_link_away() -> None:
    fields = {"license": "other", "license_name": "acme", "license_link": "LICENSE", "language": "en"}
    assert card_rules.stated(fields, {"license": "mit"}) == {"license": "mit", "language": "en"}
    assert card_rules.stated(fields, {"license_link": "https://x.example"})["license_name"] == "acme"
    assert card_rules.stated(fields, {}) == fields


@pytest.mark.parametrize(
    ("fields", "license_id"),
    [
        ({"license": "Apache 2.0"}, "apache-2.0"),
        ({"license": ["llama3.1"]}, "llama3.1"),
        ({"license": ["mit", "gemma"]}, "gemma"),
        ({"license": "other", "license_name": "llama-3.1-community-license"}, "llama3.1"),
        ({"license": ["other"], "license_name": "acme"}, "acme"),
    ],
)
def test_the_terms_follow_the_licence_however_it_is_written(fields: dict[str, Any], license_id: str) -> None:
    assert terms_of(fields).license == license_id
