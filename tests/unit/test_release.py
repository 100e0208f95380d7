"""What a release checks and writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib import __version__
from tools.release import KINDS, ReleaseError, check, check_ci, images, major_tag, notes

ROOT = Path(__file__).resolve().parents[2]
NAMES_US = re.compile(r"\b[\w-]+/model-quantizer(?:/[\w./-]+)?@(v\d[\w.]*)")
"""The action or the reusable workflow, and the tag that it is taken at."""
CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n"
    "## [1.2.3] - 2026-11-25\n\n### Added\n\n- All.\n\n"
    "## [1.2.2]\n\n- Old.\n"
)
SOURCE = '__version__ = "1.2.3"\n'


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run_of_ci(**changes: object) -> dict[str, Any]:
    """One of the runs that GitHub lists, with the keys that matter."""
    return {
        "run_number": 7,
        "head_sha": COMMIT,
        "head_branch": "main",
        "event": "push",
        "status": "completed",
        "conclusion": "success",
        "html_url": "https://github.com/acme/mq/actions/runs/1",
        **changes,
    }


def test_a_commit_on_which_ci_succeeded_is_let_through() -> None:
    older = run_of_ci(run_number=6, conclusion="failure")
    check_ci(COMMIT, {"total_count": 2, "workflow_runs": [run_of_ci(), older]})
    check_ci(COMMIT, {"total_count": 1, "workflow_runs": [run_of_ci(event="workflow_dispatch")]})


@pytest.mark.parametrize(
    "changes", [{"head_sha": "f" * 40}, {"head_branch": "fix"}, {"event": "pull_request"}, None], ids=str
)
def test_a_run_of_something_else_does_not_speak_for_the_commit(changes: dict[str, Any] | None) -> None:
    runs = [] if changes is None else [run_of_ci(**changes)]
    with pytest.raises(ReleaseError, match=f"CI has not run on {COMMIT} of main"):
        check_ci(COMMIT, {"total_count": len(runs), "workflow_runs": runs})


@pytest.mark.parametrize("conclusion", ["failure", "cancelled", "timed_out", "skipped", "neutral"])
def test_a_commit_on_which_ci_did_not_succeed_is_refused(conclusion: str) -> None:
    older = run_of_ci(run_number=6)
    answer = {"total_count": 2, "workflow_runs": [older, run_of_ci(conclusion=conclusion)]}
    with pytest.raises(ReleaseError, match=f"CI ended on {COMMIT} with {conclusion}: https://github.com/"):
        check_ci(COMMIT, answer)


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_commit_on_which_ci_still_runs_is_refused(status: str) -> None:
    answer = {"total_count": 1, "workflow_runs": [run_of_ci(status=status, conclusion=None)]}
    with pytest.raises(ReleaseError, match=f"CI has not ended on {COMMIT}, it is {status}"):
        check_ci(COMMIT, answer)


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


def test_every_architecture_is_built_where_it_runs_and_put_under_the_name_of_its_kind() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))["jobs"]
    built = jobs["image"]["strategy"]["matrix"]["include"]
    assert {(entry["kind"], entry["architecture"]) for entry in built} == {
        ("cpu", "amd64"),
        ("cpu", "arm64"),
        ("cuda", "amd64"),
    }
    for entry in built:
        assert entry["runner"].endswith("-arm") == (entry["architecture"] == "arm64")
    (named,) = [step["run"] for step in jobs["release"]["steps"] if step.get("id") == "images"]
    for kind in KINDS:
        assert kind in re.findall(r"for kind in ([\w ]+);", named)[0].split()


def test_every_example_takes_the_tag_that_the_release_of_this_version_moves() -> None:
    shown = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.y*ml")]
    shown = [path for path in shown if "work" not in path.relative_to(ROOT).parts]
    tags = {
        (str(path.relative_to(ROOT)), tag)
        for path in shown
        for tag in NAMES_US.findall(path.read_text(encoding="utf-8"))
    }
    assert {name.partition("/")[0] for name, _ in tags} == {"README.md", "docs", "examples"}
    assert {tag for _, tag in tags} == {major_tag(__version__)}


def test_this_version_is_written_down() -> None:
    assert notes(__version__, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")).strip()


@pytest.mark.parametrize(("version", "tag"), [("1.2.3", "v1"), ("0.9.0", "v0"), ("12.0.1", "v12")])
def test_the_major_tag_is_that_of_the_version(version: str, tag: str) -> None:
    assert major_tag(version) == tag


def test_a_version_of_another_form_has_no_major_tag() -> None:
    with pytest.raises(ReleaseError, match="is not of the form"):
        major_tag("v1.2.3")
