"""Publishing into a folder: all or nothing, by name, and only over what is ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantize_lib.errors import PublishError
from quantize_lib.files import sha256_file, write_json
from quantize_lib.publish.base import check_repository
from quantize_lib.publish.directory import publisher as directory
from quantize_lib.publish.directory.publisher import DirectoryPublisher
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import publish_spec

REPOSITORY = "acme/tiny-gptq-4bit"


def make_checkpoint(folder: Path, content: str, fingerprint: str = "f1") -> Path:
    """A folder that publishes."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"content": content})
    (folder / "model.safetensors").write_text(content * 1000)
    (folder / "README.md").write_text(content)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    versions = {"model-quantizer": "1.2.3"}
    write_json(folder / RECORD_FILE, {"fingerprint": fingerprint, "versions": versions, "files": files})
    return folder


def publisher_of(root: Path) -> DirectoryPublisher:
    return DirectoryPublisher(publish_spec("directory", path=root))


def publish(root: Path, checkpoint: Path, fingerprint: str = "f1", repository: str = REPOSITORY) -> str:
    publisher = publisher_of(root)
    return publisher.publish(checkpoint, repository, fingerprint=fingerprint, message="m").commit


def visible(root: Path) -> set[str]:
    """What a reader sees, hidden files aside."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not path.relative_to(root).parts[0].startswith(".")
    }


def test_a_repository_holds_exactly_the_checkpoints_files(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "cell", "one")
    commit = publish(tmp_path / "out", checkpoint)
    assert visible(tmp_path / "out") == {f"{REPOSITORY}/{path.name}" for path in checkpoint.iterdir()}
    for path in checkpoint.iterdir():
        assert (tmp_path / "out" / REPOSITORY / path.name).read_bytes() == path.read_bytes()
    assert len(commit) == 40
    assert int(commit, 16) >= 0


def test_the_commit_says_what_the_content_is(tmp_path: Path) -> None:
    one = publish(tmp_path / "a", make_checkpoint(tmp_path / "c1", "one"))
    same = publish(tmp_path / "b", make_checkpoint(tmp_path / "c2", "one"))
    other = publish(tmp_path / "c", make_checkpoint(tmp_path / "c3", "two"))
    assert one == same != other


def test_the_state_of_a_repository_can_be_read_back(tmp_path: Path) -> None:
    publisher = publisher_of(tmp_path / "out")
    assert publisher.current(REPOSITORY) is None
    commit = publish(tmp_path / "out", make_checkpoint(tmp_path / "cell", "one"))
    state = publisher.current(REPOSITORY)
    assert state is not None
    assert (state.fingerprint, state.version, state.commit) == ("f1", "1.2.3", commit)


def test_a_new_state_replaces_the_old_one_entirely(tmp_path: Path) -> None:
    first = make_checkpoint(tmp_path / "c1", "one")
    (first / "LICENSE").write_text("l")
    record = json.loads((first / RECORD_FILE).read_text())
    record["files"]["LICENSE"] = sha256_file(first / "LICENSE")
    write_json(first / RECORD_FILE, record)
    publish(tmp_path / "out", first)
    publish(tmp_path / "out", make_checkpoint(tmp_path / "c2", "two", "f2"), "f2")
    target = tmp_path / "out" / REPOSITORY
    assert not (target / "LICENSE").exists()
    assert (target / "README.md").read_text() == "two"
    assert (first / "README.md").read_text() == "one"


def test_publishing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "cell", "one")
    publish(tmp_path / "out", checkpoint)
    before = (tmp_path / "out" / REPOSITORY).stat().st_ino
    publish(tmp_path / "out", checkpoint)
    assert (tmp_path / "out" / REPOSITORY).stat().st_ino == before


def test_a_repository_that_lost_a_file_is_repaired(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "cell", "one")
    publish(tmp_path / "out", checkpoint)
    (tmp_path / "out" / REPOSITORY / "model.safetensors").unlink()
    assert publisher_of(tmp_path / "out").current(REPOSITORY) is None
    publish(tmp_path / "out", checkpoint)
    assert (tmp_path / "out" / REPOSITORY / "model.safetensors").exists()


def test_a_state_without_sense_counts_as_none(tmp_path: Path) -> None:
    publish(tmp_path / "out", make_checkpoint(tmp_path / "cell", "one"))
    for nonsense in ("not json", "[]", '{"files": 3}'):
        (tmp_path / "out" / REPOSITORY / RECORD_FILE).write_text(nonsense)
        assert publisher_of(tmp_path / "out").current(REPOSITORY) is None


def test_what_is_left_of_a_crash_is_removed(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "cell", "one")
    out = tmp_path / "out"
    staging = out / ".publishing" / "acme--tiny-gptq-4bit.staging"
    staging.mkdir(parents=True)
    (staging / "model.safetensors").write_text("half")
    publish(out, checkpoint)
    assert not staging.exists()
    assert (out / REPOSITORY / "model.safetensors").read_text() == "one" * 1000


def test_where_folders_cannot_trade_places_two_renames_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "exchange", lambda *_: False)
    publish(tmp_path / "out", make_checkpoint(tmp_path / "c1", "one"))
    publish(tmp_path / "out", make_checkpoint(tmp_path / "c2", "two", "f2"), "f2")
    assert (tmp_path / "out" / REPOSITORY / "README.md").read_text() == "two"
    assert [path.suffix for path in (tmp_path / "out" / ".publishing").iterdir()] == [".lock"]


def test_a_crash_between_two_renames_is_undone_at_the_next_look(tmp_path: Path) -> None:
    out = tmp_path / "out"
    commit = publish(out, make_checkpoint(tmp_path / "cell", "one"))
    (out / REPOSITORY).rename(out / ".publishing" / "acme--tiny-gptq-4bit.previous")
    state = publisher_of(out).current(REPOSITORY)
    assert state is not None
    assert state.commit == commit
    assert (out / REPOSITORY / "README.md").read_text() == "one"


def test_a_changed_checkpoint_is_not_published_and_the_old_state_stays(tmp_path: Path) -> None:
    publish(tmp_path / "out", make_checkpoint(tmp_path / "c1", "one"))
    changed = make_checkpoint(tmp_path / "c2", "two", "f2")
    (changed / "model.safetensors").write_text("tampered")
    with pytest.raises(PublishError, match=r"model\.safetensors was changed"):
        publish(tmp_path / "out", changed, "f2")
    assert (tmp_path / "out" / REPOSITORY / "README.md").read_text() == "one"


def test_a_checkpoint_of_other_settings_is_not_published(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "cell", "one", "f1")
    with pytest.raises(PublishError, match="has the fingerprint 'f1' instead of 'f2'"):
        publish(tmp_path / "out", checkpoint, "f2")


def test_a_config_that_is_no_json_is_not_published(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "cell", "one")
    (checkpoint / "config.json").write_text("{")
    record = json.loads((checkpoint / RECORD_FILE).read_text())
    record["files"]["config.json"] = sha256_file(checkpoint / "config.json")
    write_json(checkpoint / RECORD_FILE, record)
    with pytest.raises(PublishError, match=r"config\.json is not JSON"):
        publish(tmp_path / "out", checkpoint)
    assert visible(tmp_path / "out") == set()


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_somebody_else_put_there_is_never_replaced(kind: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "cell", "one")
    target = tmp_path / "out" / REPOSITORY
    target.parent.mkdir(parents=True)
    if kind == "folder":
        target.mkdir()
        (target / "thesis.txt").write_text("mine")
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(checkpoint)
    with pytest.raises(PublishError, match="was not published by this tool"):
        publish(tmp_path / "out", checkpoint)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../b", "/etc/x", "a/b/c", "", "a/", "/a", ".x", "a/.x", "-a", "a-", "a b", "a--b", "a\n",
     "a.git", "a\\b", "ä", "x" * 97, "a..b", ".publishing/x"],
)  # fmt: skip
def test_a_name_that_the_hub_would_refuse_or_that_leaves_the_folder_is_refused(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(PublishError, match="is not a repository's name"):
        check_repository(name)
    with pytest.raises(PublishError, match="is not a repository's name"):
        publisher_of(tmp_path).current(name)


@pytest.mark.parametrize("name", ["a", "acme/SmolLM2-135M-Instruct-gptq-4bit", "A_b.c/x_", "1/2"])
def test_a_name_that_the_hub_takes_is_taken(name: str) -> None:
    assert check_repository(name) == name


def test_a_file_in_the_place_of_the_folder_is_an_error_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(PublishError, match="out is not a folder"):
        publisher_of(tmp_path / "out")


def test_shards_are_shared_and_small_files_are_not(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "cell", "one")
    publish(tmp_path / "out", checkpoint)
    target = tmp_path / "out" / REPOSITORY
    assert (target / "model.safetensors").samefile(checkpoint / "model.safetensors")
    assert not (target / "config.json").samefile(checkpoint / "config.json")
