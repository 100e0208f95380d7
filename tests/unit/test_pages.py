"""Pages: foreign words stay words, and a page can load and run nothing."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from quantize_lib.pages import render_page
from quantize_lib.pages.page import relative_address, web_address

TEMPLATE = """{% extends "base.html.j2" %}
{% from "macros.html.j2" import badge, beside, link %}
{% block title %}{{ name }}{% endblock %}
{% block main %}
<p title="{{ name }}">{{ name }}</p>
<p>{{ link(name, address) }} {{ beside(name, name) }} {{ badge(name, "bad") }}</p>
{% endblock %}
"""
HOSTILE = "\"'><script src=https://evil.example></script><img src=x onerror=alert(1)>{{ 7*7 }}\u202egnp.exe"


class Seen(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(folder: Path, **values: str | None) -> Seen:
    template = folder / "page.html.j2"
    template.write_text(TEMPLATE, encoding="utf-8")
    return Seen(render_page(template, values))


def test_foreign_words_in_a_page_are_text_wherever_they_stand(tmp_path: Path) -> None:
    seen = page(tmp_path, name=HOSTILE, address=f"https://example.org/{HOSTILE}")
    shown = HOSTILE.replace("\u202e", "")
    # The title, the heading, the paragraph, two links and the badge.
    assert seen.text.count(shown) == 6
    assert {tag for tag, _ in seen.elements} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "header", "h1", "main", "p", "a", "span"),
    }
    assert [attributes["title"] for tag, attributes in seen.elements if "title" in attributes] == [shown]
    assert all(not name.startswith("on") for _, attributes in seen.elements for name in attributes)


def test_a_page_may_load_and_run_nothing(tmp_path: Path) -> None:
    seen = page(tmp_path, name="x", address=None)
    (policy,) = [
        attributes["content"]
        for tag, attributes in seen.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_a_value_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="address"):
        page(tmp_path, name="x")


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "file:///x", "x", "//x", "http:"],
)
def test_only_an_address_of_the_web_becomes_a_link(tmp_path: Path, address: str) -> None:
    assert web_address(address) is None
    seen = page(tmp_path, name="x", address=address)
    assert [attributes["href"] for tag, attributes in seen.elements if tag == "a"] == ["./x"]


def test_an_address_of_the_web_stays_as_it_is() -> None:
    assert web_address("https://huggingface.co/a/b/tree/0") == "https://huggingface.co/a/b/tree/0"
    assert web_address(None) is None


def test_a_file_beside_the_page_is_addressed_whatever_its_name_is() -> None:
    assert relative_address("a b/c#?.md") == "./a%20b/c%23%3F.md"
    assert relative_address("javascript:alert(1)") == "./javascript%3Aalert%281%29"
