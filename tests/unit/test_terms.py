"""What a base model's licence and access ask of what is made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantize_lib.host.terms_notice import add_notice, terms_warnings
from quantize_lib.methods.settings import Settings
from quantize_lib.plan.cells import Cell
from quantize_lib.publish.access import access
from quantize_lib.publish.verify import check_files
from quantize_lib.source.facts import Terms
from quantize_lib.source.model_files import is_side_file
from quantize_lib.source.terms import display, name_warning, notice, terms_of
from quantize_lib.targets import publish_spec

GATED = Terms(license="llama3.1", gated="manual")
PRIVATE = Terms(private=True)


def cell(repository: str) -> Cell:
    return Cell(id="m-awq-4bit", settings=Settings(method="awq", bits=4), repository=repository)


@pytest.mark.parametrize(
    ("card", "terms"),
    [
        ({"license": "apache-2.0"}, Terms(license="apache-2.0")),
        ({"license": "other", "license_name": "llama3"}, Terms(license="llama3")),
        ({"license_name": "gemma"}, Terms(license="gemma")),
        ({"license": "other"}, Terms(license="other")),
        ({"license": ["mit", "apache-2.0"]}, Terms()),
        ({"license": "gemma", "extra_gated_prompt": "Agree?"}, Terms(license="gemma", gated="manual")),
        ({}, Terms()),
    ],
)
def test_terms_are_read_from_a_card(card: dict[str, Any], terms: Terms) -> None:
    assert terms_of(card) == terms


def test_what_the_hub_says_of_access_goes_before_the_card() -> None:
    assert terms_of({"extra_gated_prompt": "Agree?"}, gated="auto").gated == "auto"
    assert terms_of({}, private=True).private
    assert terms_of({}, gated="some new way").gated == "manual"
    assert terms_of({}, gated=False).gated is None


@pytest.mark.parametrize(
    ("license_id", "repository", "fits"),
    [
        ("llama3.1", "acme/Llama-3.1-8B-awq-4bit", True),
        ("llama3.1", "acme/llama-awq", True),
        ("llama3.1", "llama/mine-awq", False),
        ("llama3.2", "acme/Meta-Llama-3-8B-awq-4bit", False),
        ("LLAMA3.3", "mine", False),
        ("llama3", "acme/Llama-3-8B-awq", True),
        ("llama3", "acme/Meta-Llama-3-8B", False),
        ("llama3", "acme/Llama-2-7b", False),
        ("llama2", "acme/mine", True),
        ("gemma", "acme/mine", True),
        ("apache-2.0", "acme/mine", True),
        (None, "acme/mine", True),
    ],
)
def test_a_name_is_held_against_the_licence(license_id: str | None, repository: str, fits: bool) -> None:
    assert (name_warning(Terms(license=license_id), repository) is None) == fits


def test_the_warning_names_prefix_place_and_way_out() -> None:
    (warning,) = terms_warnings(cell("acme/mine-awq"), Terms(license="llama3.1"), publish_spec("directory"))
    assert warning == (
        "m-awq-4bit: the licence llama3.1 asks that the name of a model made from this one begin with "
        "“Llama”, and acme/mine-awq does not (https://www.llama.com/llama3_1/license/); "
        "`publish.name` can say so"
    )


def test_a_licence_that_asks_for_nothing_gets_no_line_on_the_card() -> None:
    assert display(Terms(license="mit")) is None
    assert display(Terms(license="llama4")) == "Built with Llama"


def test_private_stays_private_whatever_the_base_is() -> None:
    for terms in (Terms(), GATED, PRIVATE, None):
        found = access(publish_spec("directory", private=True), terms)
        assert (found.private, found.gated, found.reason) == (True, None, None)


def test_a_public_base_becomes_what_the_manifest_says() -> None:
    assert access(publish_spec("directory", private=False), Terms()).private is False


@pytest.mark.parametrize("kind", ["auto", "manual"])
def test_a_gated_base_is_published_gated_in_the_same_way(kind: Any) -> None:
    found = access(publish_spec("directory", private=False), Terms(gated=kind))
    assert (found.private, found.gated) == (False, kind)
    assert "publish.terms_allow_public" in str(found.reason)


@pytest.mark.parametrize("terms", [PRIVATE, None, Terms(private=True, gated="auto")])
def test_a_private_base_and_one_of_which_nothing_is_known_stay_private(terms: Terms | None) -> None:
    found = access(publish_spec("directory", private=False), terms)
    assert found.private
    assert "publish.terms_allow_public" in str(found.reason)


@pytest.mark.parametrize("terms", [GATED, PRIVATE, None])
def test_the_manifest_can_confirm_that_the_terms_allow_it(terms: Terms | None) -> None:
    found = access(publish_spec("directory", private=False, terms_allow_public=True), terms)
    assert (found.private, found.gated, found.reason) == (False, None, None)


def test_who_will_see_it_is_told_beforehand_where_it_goes_to_the_hub() -> None:
    hub = publish_spec("hub", private=False)
    (warning,) = terms_warnings(cell("acme/m"), Terms(gated="auto"), hub)
    assert warning.startswith("m-awq-4bit: the base model is gated, so it is published gated;")
    folder = publish_spec("directory", private=False)
    assert not list(terms_warnings(cell("acme/m"), Terms(gated="auto"), folder))


def test_the_notice_that_a_licence_wants_is_written_where_the_base_brings_none(tmp_path: Path) -> None:
    add_notice(tmp_path, Terms(license="llama3.2"))
    assert (tmp_path / "NOTICE").read_text() == (
        "Llama 3.2 is licensed under the Llama 3.2 Community License, "
        "Copyright © Meta Platforms, Inc. All Rights Reserved.\n"
    )
    assert check_files(tmp_path) == ("NOTICE",)


def test_the_bases_own_notice_stays(tmp_path: Path) -> None:
    (tmp_path / "Notice.txt").write_text("theirs")
    add_notice(tmp_path, Terms(license="gemma"))
    assert [path.name for path in tmp_path.iterdir()] == ["Notice.txt"]
    assert notice(Terms(license="gemma")) is not None


def test_no_notice_is_invented_for_other_licences(tmp_path: Path) -> None:
    add_notice(tmp_path, Terms(license="apache-2.0"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    ["LICENSE", "License.md", "license.txt", "LICENCE", "MODEL_LICENSE", "NOTICE.txt", "USE_POLICY.md"],
)
def test_licence_and_notice_travel_in_whatever_case_they_are_written(name: str, tmp_path: Path) -> None:
    assert is_side_file(name)
    (tmp_path / name).write_text("terms")
    assert check_files(tmp_path) == (name,)


@pytest.mark.parametrize("name", ["LICENSE.py", "notice.bin", "docs/LICENSE", "relicense.txt"])
def test_what_only_looks_like_a_licence_stays_behind(name: str) -> None:
    assert not is_side_file(name)
