"""What a release checks and writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.release import ReleaseError, check, images, notes

CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n"
    "## [1.2.3] - 2026-11-25\n\n### Added\n\n- All.\n\n"
    "## [1.2.2]\n\n- Old.\n"
)
SOURCE = '__version__ = "1.2.3"\n'


def test_a_version_that_is_ready_is_let_through() -> None:
    check("1.2.3", "refs/heads/main", source=SOURCE, changelog=CHANGELOG, tags={"v1.2.2", "v1"})


@pytest.mark.parametrize("version", ["v1.2.3", "1.2", "1.2.3-rc1", "1.2.3; rm -rf /", "1.2.3\n", "$(id)"])
def test_a_version_of_another_form_is_refused(version: str) -> None:
    with pytest.raises(ReleaseError, match="is not of the form"):
        check(version, "refs/heads/main", source=SOURCE, changelog=CHANGELOG, tags=set())


def test_every_reason_against_a_release_is_told() -> None:
    with pytest.raises(ReleaseError) as caught:
        check("1.2.4", "refs/heads/x", source=SOURCE, changelog=CHANGELOG, tags={"v1.2.4"})
    assert str(caught.value).splitlines() == [
        "a release is made from main, not from refs/heads/x",
        "quantize_lib/__init__.py says another version than 1.2.4",
        "v1.2.4 is released already",
        "CHANGELOG.md has no section on 1.2.4",
    ]


def test_the_notes_are_the_changelogs_section() -> None:
    assert notes("1.2.3", CHANGELOG) == "### Added\n\n- All.\n"


def test_the_images_of_a_release_are_named_by_digest(tmp_path: Path) -> None:
    for kind in ("cpu", "cuda"):
        (tmp_path / kind).write_text(f"ghcr.io/acme/mq@sha256:{'0' * 64}\n", encoding="utf-8")
    assert images(tmp_path) == dict.fromkeys(("cpu", "cuda"), f"ghcr.io/acme/mq@sha256:{'0' * 64}")
    (tmp_path / "cuda").write_text("ghcr.io/acme/mq:latest\n", encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"cuda: 'ghcr.io/acme/mq:latest' is not an image with its digest"):
        images(tmp_path)
