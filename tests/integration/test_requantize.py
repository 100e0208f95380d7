"""What is published unchanged is skipped with one request each; what changed is built, with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import DATASET, UNCHANGED, asked, fleet, publish_all, words
from tests.support.hub import Hub, serve
from tests.support.small_runs import command, environment, report, save_tiny_model


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub()) as server:
        yield server


def changes(hub: Hub, folder: Path, manifest: Path, *more: str) -> dict[str, dict[str, Any]]:
    """What `plan` says of each cell."""
    done = command("plan", manifest, "--format", "json", *more, **words(hub, folder))
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)["jobs"]
    return {cell["id"]: cell["change"] for job in jobs for cell in job["cells"]}


@pytest.mark.parametrize("which", UNCHANGED)
def test_a_thousand_unchanged_cells_cost_a_request_each_and_one_for_each_model_and_data_set(
    hub: Hub, tmp_path: Path, which: str
) -> None:
    manifest = fleet(hub, tmp_path, models=10, cells=100)
    publish_all(hub, manifest)
    done = command(which, manifest, *UNCHANGED[which], **words(hub, tmp_path))
    assert done.returncode == 0, done.stderr
    counts = asked(hub)
    assert set(counts.values()) == {1}
    assert len(counts) == 1000 + 10 + 1
    assert all(request.method == "GET" for request in hub.requests)
    if which == "plan":
        assert json.loads(done.stdout) == {"include": []}
        return
    cells = report(tmp_path / "out")
    assert len(cells) == 1000
    for cell in cells.values():
        repository = hub.repositories[f"models/{cell['repository']}"]
        base = hub.repositories[f"models/{cell['model']}"]
        assert (cell["status"], cell["error"]) == ("skipped", None)
        assert (cell["commit"], cell["revision"]) == (repository.head, base.head)
        assert cell["url"] == f"{hub.endpoint}/{cell['repository']}/tree/{repository.head}"


def test_each_change_builds_just_the_cells_that_it_touches_and_says_what_it_was(
    hub: Hub, tmp_path: Path
) -> None:
    manifest = fleet(hub, tmp_path, models=2, cells=2)
    publish_all(hub, manifest)
    ids = {"base-0-awq-4bit", "base-0-kept-0", "base-1-awq-4bit", "base-1-kept-0"}

    def to_build(*more: str) -> dict[str, str]:
        said = changes(hub, tmp_path, manifest, *more)
        assert said.keys() == ids if "--changed-only" not in more else said.keys() < ids
        return {cell: change["text"] for cell, change in said.items() if change["build"]}

    assert to_build() == {}
    assert to_build("--force") == dict.fromkeys(ids, "forced")

    base = hub.repositories["models/meta/base-1"]
    old = base.head
    new = base.add_files({"number.txt": b"another"})
    text = f"the base model changed: {old[:12]} → {new[:12]}"
    assert to_build() == {"base-1-awq-4bit": text, "base-1-kept-0": text}
    publish_all(hub, manifest)

    data = hub.repositories[f"datasets/{DATASET}"]
    data.add_files({"more.txt": b"more"})
    only = {f"base-{number}-awq-4bit": "the calibration data changed" for number in range(2)}
    assert to_build("--changed-only") == only
    publish_all(hub, manifest)

    manifest.write_text(manifest.read_text().replace("- '*.0.*'", "- '*.1.*'", 1))
    assert to_build() == {"base-0-kept-0": "the settings changed"}


def test_a_forced_run_really_builds_and_publishes_what_is_published_unchanged(
    hub: Hub, tmp_path: Path, calibration_text: Path
) -> None:
    """What was published says that it is the same, but its weights are none: only a build mends that."""
    manifest = fleet(hub, tmp_path, models=1, cells=2)
    tiny = save_tiny_model(tmp_path / "tiny", calibration_text)
    hub.repositories["models/meta/base-0"].add_files(
        {path.name: path.read_bytes() for path in tiny.iterdir()}
    )
    publish_all(hub, manifest)
    cell, other = hub.model("acme/base-0-kept-0"), hub.model("acme/base-0-awq-4bit")
    before = (cell.head, other.head)
    run = ("run", manifest, "--output", "out", "--only", "base-0-kept-0")

    def status(*more: str) -> tuple[str, str]:
        done = command(*run, *more, **words(hub, tmp_path))
        assert done.returncode == 0, done.stderr
        (record,) = report(tmp_path / "out").values()
        return record["status"], record["commit"]

    assert status() == ("skipped", before[0])
    assert status("--force") == ("published", cell.head)
    assert cell.head != before[0]
    assert other.head == before[1]
    made = tmp_path / "out" / "base-0-kept-0"
    files = cell.files
    assert files["model.safetensors"] == (made / "model.safetensors").read_bytes()
    assert json.loads(files["config.json"])["quantization_config"]["load_in_8bit"] is True

    built = (made / "model.safetensors").stat()
    commits = len(hub.asked("create_commit"))
    assert status() == ("skipped", cell.head)
    assert status("--force")[0] == "published"
    again = (made / "model.safetensors").stat()
    assert (again.st_ino, again.st_mtime_ns) != (built.st_ino, built.st_mtime_ns)
    assert len(hub.asked("create_commit")) == commits + 1


def test_another_version_of_the_tool_rebuilds_where_the_manifest_says_so(hub: Hub, tmp_path: Path) -> None:
    manifest = fleet(hub, tmp_path, models=1, cells=2)
    publish_all(hub, manifest, version="0.0.1")
    assert not any(change["build"] for change in changes(hub, tmp_path, manifest).values())
    text = manifest.read_text()
    manifest.write_text(text.replace("namespace: acme", "namespace: acme\n  rebuild_on_new_version: true"))
    assert {change["reasons"][0] for change in changes(hub, tmp_path, manifest).values()} == {"tool"}


def test_a_plan_without_a_token_reads_what_is_public_and_counts_the_rest_as_new(
    hub: Hub, tmp_path: Path
) -> None:
    manifest = fleet(hub, tmp_path, models=1, cells=2)
    publish_all(hub, manifest)
    hub.repositories["models/acme/base-0-kept-0"].private = False
    env = environment(**hub.environment(tmp_path / "home"))
    done = command("plan", manifest, "--changed-only", "--format", "github", cwd=tmp_path, env=env)
    (entry,) = json.loads(done.stdout)["include"]
    assert entry["cells"] == "base-0-awq-4bit"
