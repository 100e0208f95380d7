"""Every page is found, every link leads somewhere, every generated part is what it describes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.errors import ExitCode
from quantize_lib.schemas import load_schema
from tests.support.documents import INDEX, PAGES, ROOT, anchors, examples, links, target
from tools.docs import __main__ as docs
from tools.docs import key_tables, pages

TEXTS = ["quantize_lib", "tools", "tests", "benchmarks", "examples", "schemas", ".github"]
"""Folders with files that name documents."""
TEXT_FILES = {".py", ".yml", ".yaml", ".json", ".toml", ".sh", ".md", ".j2", ".mjs"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_every_page_is_reachable_from_the_index() -> None:
    assert INDEX in {target(ROOT / "README.md", link) for link in links(ROOT / "README.md")}
    seen: set[Path] = set()
    pending = [INDEX]
    while pending:
        page = pending.pop()
        if page in seen or page not in PAGES:
            continue
        seen.add(page)
        pending += [target(page, link) for link in links(page)]
    assert [name(page) for page in PAGES if page not in seen] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    dead = []
    for link in links(page):
        anchor = link.partition("#")[2]
        place = target(page, link)
        if not place.exists() or (anchor and anchor not in anchors(place)):
            dead.append(link)
    assert dead == []


def test_a_file_that_names_a_document_names_one_that_is_there() -> None:
    files = [path for folder in TEXTS for path in (ROOT / folder).rglob("*") if path.suffix in TEXT_FILES]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    lost = {
        f"{name(path)}: {found}"
        for path in files
        if "node_modules" not in path.parts and "work" not in path.parts
        for found in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
        if not (ROOT / found).is_file()
    }
    assert lost == set()


def test_every_path_of_the_repository_that_a_page_names_is_there() -> None:
    folders = "quantize_lib|schemas|tests|tools|examples|benchmarks|requirements"
    lost = {
        f"{name(page)}: {found}"
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for found in re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text(encoding="utf-8"))
        # In a recipe NAME is the reader's own; the demo makes its folder.
        if "NAME" not in found and not found.startswith("examples/demo/work") and not (ROOT / found).exists()
    }
    assert lost == set()


def test_every_generated_part_is_what_it_describes(capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--check"]) == 0, capsys.readouterr().out


def test_every_part_that_can_be_generated_stands_on_one_page() -> None:
    placed = [part for page in PAGES for part in pages.names(page.read_text(encoding="utf-8"))]
    assert sorted(placed) == sorted(pages.parts())


@pytest.mark.parametrize("kind", ["plan", "report", "benchmark"])
def test_every_key_of_what_is_written_is_described(kind: str) -> None:
    silent = [key for key, words in key_tables.described(load_schema(kind)) if not words.get("description")]
    assert silent == []


def test_the_page_of_exit_codes_has_every_one_by_its_name() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)
    assert rows == [(str(code.value), code.name) for code in ExitCode]


def test_the_page_of_the_report_has_every_status_and_an_example_that_is_valid() -> None:
    page = ROOT / "docs" / "reference" / "report.md"
    text = page.read_text(encoding="utf-8")
    schema = load_schema("report")
    statuses = schema["$defs"]["cell"]["properties"]["status"]["enum"]
    assert [status for status in statuses if f"| `{status}` |" not in text] == []
    (example,) = (example for example in examples("json") if example.page == page)
    Draft202012Validator(schema).validate(json.loads(example.text))


def test_the_page_of_the_plan_has_every_reason() -> None:
    text = (ROOT / "docs" / "reference" / "plan.md").read_text(encoding="utf-8")
    change = load_schema("plan")["$defs"]["cell"]["properties"]["change"]["properties"]
    assert [one for one in change["reasons"]["items"]["enum"] if f"| `{one}` |" not in text] == []


def test_the_changelog_knows_the_unreleased_changes() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
