"""What the docs show works: manifests validate, commands parse, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from quantize_lib.cli.arguments import parse_arguments
from quantize_lib.manifest import parse_manifest

ROOT = Path(__file__).resolve().parents[2]
DOCS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[Path, str]]:
    """The fenced blocks of a language, with the document that each stands in."""
    return [
        (path, body)
        for path in DOCS
        for name, body in BLOCK.findall(path.read_text(encoding="utf-8"))
        if name == language
    ]


MANIFESTS = [(path, body) for path, body in blocks("yaml") if body.startswith("version:")]
COMMANDS = [
    line
    for _, body in blocks("bash")
    for line in body.splitlines()
    if line.startswith(("model-quantizer ", "python entrypoint.py "))
]


def test_the_docs_show_manifests_and_commands() -> None:
    assert MANIFESTS
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize(("path", "body"), MANIFESTS, ids=lambda value: getattr(value, "name", ""))
def test_a_manifest_in_the_docs_is_valid(path: Path, body: str, tmp_path: Path) -> None:
    # What the docs' manifests name beside themselves.
    (tmp_path / "models" / "mine").mkdir(parents=True)
    for name in ("held-out.txt", "calibration/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    assert parse_manifest(body, path=tmp_path / "quantize.yml"), path.name


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_in_the_docs_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)
    parse_arguments(words[2:] if words[0] == "python" else words[1:])


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    dead = [
        link
        for link in links
        if not re.match(r"[a-z]+:|#", link) and not (path.parent / link.partition("#")[0]).exists()
    ]
    assert not dead


def test_the_changelog_knows_the_unreleased_changes() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
