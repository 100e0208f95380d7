"""What one commit changes in a repository, whatever is on both sides."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.hub.remote_files import RemoteFile
from quantize_lib.publish.hub.file_changes import Changes, LocalFile, changes, differences, way_back

NAMES = (
    "config.json",
    "README.md",
    "model.safetensors",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "picture.png",
    ".gitattributes",
    "notes/how.md",
)
contents = st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=3))
published_names = st.sets(st.sampled_from(NAMES))


def remote(content: bytes, *, lfs: bool) -> RemoteFile:
    file = LocalFile.of_bytes(content)
    if lfs:
        return RemoteFile(size=file.size, sha256=file.sha256)
    return RemoteFile(size=file.size, oid=file.git_oid())


def remotes(files: dict[str, bytes]) -> dict[str, RemoteFile]:
    return {name: remote(content, lfs=name.endswith("tensors")) for name, content in files.items()}


def locals_of(files: dict[str, bytes]) -> dict[str, LocalFile]:
    return {name: LocalFile.of_bytes(content) for name, content in files.items()}


def after(before: dict[str, bytes], local: dict[str, bytes], made: Changes) -> dict[str, bytes]:
    """What a repository holds after a commit of these changes."""
    kept = {name: content for name, content in before.items() if name not in made.removed}
    return kept | {name: local[name] for name in made.added}


@given(contents, contents, published_names)
def test_the_changes_make_the_repository_hold_the_files(
    before: dict[str, bytes], local: dict[str, bytes], published: set[str]
) -> None:
    made = changes(locals_of(local), remotes(before), published)
    now = after(before, local, made)
    assert local.items() <= now.items()
    assert differences(locals_of(local), remotes(now), remotes(before), made) == ()


@given(contents, contents, published_names)
def test_only_what_was_published_or_would_be_loaded_is_removed(
    before: dict[str, bytes], local: dict[str, bytes], published: set[str]
) -> None:
    made = changes(locals_of(local), remotes(before), published)
    gone = before.keys() - after(before, local, made).keys()
    assert gone == set(made.removed)
    assert all(name in published or "safetensors" in name for name in gone)
    assert ".gitattributes" not in gone
    left = before.keys() - gone - local.keys()
    assert not any("safetensors" in name for name in left)


@given(contents, contents, published_names)
def test_the_same_again_changes_nothing(
    before: dict[str, bytes], local: dict[str, bytes], published: set[str]
) -> None:
    made = changes(locals_of(local), remotes(before), published)
    now = after(before, local, made)
    assert not changes(locals_of(local), remotes(now), local.keys())


@given(contents, contents)
def test_a_file_is_sent_only_where_the_repository_has_other_bytes(
    before: dict[str, bytes], local: dict[str, bytes]
) -> None:
    made = changes(locals_of(local), remotes(before), ())
    assert set(made.added) == {name for name in local if before.get(name) != local[name]}


@given(contents, contents, contents, published_names)
def test_whatever_a_commit_did_wrong_is_seen(
    before: dict[str, bytes], local: dict[str, bytes], now: dict[str, bytes], published: set[str]
) -> None:
    made = changes(locals_of(local), remotes(before), published)
    seen = differences(locals_of(local), remotes(now), remotes(before), made)
    assert bool(seen) == (now != after(before, local, made))


@given(contents, contents)
def test_the_way_back_leads_back(before: dict[str, bytes], now: dict[str, bytes]) -> None:
    back = way_back(remotes(before), remotes(now))
    assert after(now, before, back) == before
    assert not set(back.added) & set(back.removed)


def test_a_files_git_id_is_gits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content\n" * 1000)
    file = LocalFile(content=path, size=path.stat().st_size, sha256="")
    told = subprocess.run(["git", "hash-object", str(path)], stdout=subprocess.PIPE, text=True, check=True)
    assert file.git_oid() == told.stdout.strip() == LocalFile.of_bytes(path.read_bytes()).git_oid()
