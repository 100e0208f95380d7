"""What is built and not published outlives the runner in the folder that the cache keeps."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.host.output_folder import working_in
from tools.action.unpublished import bring_back, keep


def cell(path: str | None, commit: str | None = None, **more: str) -> dict[str, Any]:
    """A cell of a report, as far as it matters here."""
    return {"path": path, "commit": commit, "model": "acme/tiny", "status": "built", **more}


def output(folder: Path, *names: str) -> Path:
    """An output folder with checkpoints of these names."""
    for name in names:
        (folder / name / "below").mkdir(parents=True)
        (folder / name / "below" / "file").write_text(name, encoding="utf-8")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_no_repository_has_comes_back_on_another_machine_and_the_rest_does_not(tmp_path: Path) -> None:
    first = output(tmp_path / "first", "built", "published")
    keep(first, [cell("built"), cell("published", "0" * 40), cell(None)])
    second = tmp_path / "second"
    second.mkdir()
    (first / ".state").rename(second / ".state")
    bring_back(second)
    assert names(second) == {".state", "built"}
    assert (second / "built" / "below" / "file").read_text(encoding="utf-8") == "built"


def test_what_was_not_chosen_is_kept_until_the_chosen_one_is_published(tmp_path: Path) -> None:
    folder = output(tmp_path, "chosen", "other", "waits")
    other = cell("other", status="skipped", not_chosen="a smaller one, chosen, meets the limits")
    keep(folder, [cell("chosen"), other])
    assert names(folder / ".state" / "unpublished") == {"chosen", "other"}
    keep(folder, [cell("chosen", "0" * 40), other])
    assert not (folder / ".state" / "unpublished").exists()
    keep(folder, [cell("waits", not_chosen="not chosen yet"), cell(None, status="failed")])
    assert names(folder / ".state" / "unpublished") == {"waits"}


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    folder = output(tmp_path, "built")
    keep(folder, [cell("built")])
    (folder / "built" / "below" / "file").unlink()
    bring_back(folder)
    assert names(folder / "built" / "below") == set()


def test_it_is_kept_until_a_report_says_that_it_is_published(tmp_path: Path) -> None:
    folder = output(tmp_path, "built")
    keep(folder, [cell("built")])
    bring_back(folder)
    with working_in(folder) as state:
        # A run that ends without a report.
        assert names(state) == {"lock", "unpublished"}
    keep(folder, [cell("built", "0" * 40)])
    assert names(folder / ".state") == {"lock"}


def test_nothing_kept_is_nothing_to_bring_back(tmp_path: Path) -> None:
    bring_back(tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("shares", [True, False])
def test_no_second_copy_is_made_where_the_file_system_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    def refuse(*_paths: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not shares:
        monkeypatch.setattr(os, "link", refuse)
    folder = output(tmp_path, "built")
    keep(folder, [cell("built")])
    copy = folder / ".state" / "unpublished" / "built" / "below" / "file"
    assert copy.samefile(folder / "built" / "below" / "file") is shares
    assert copy.read_text(encoding="utf-8") == "built"
