"""A checkpoint that is not what was recorded is not published."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quantize_lib.errors import PublishError
from quantize_lib.files import sha256_file
from quantize_lib.publish.verify import check_files, verify_checkpoint
from quantize_lib.report.records import RECORD_FILE


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "cell"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "README.md", "LICENSE", "chat_template.jinja"):
        (folder / name).write_text(name)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("x")
    return folder


def _recorded(folder: Path) -> dict[str, str]:
    return {name: sha256_file(folder / name) for name in check_files(folder)}


def test_an_unchanged_checkpoint_passes(checkpoint: Path) -> None:
    files = _recorded(checkpoint)
    assert "additional_chat_templates/rag.jinja" in files
    verify_checkpoint(checkpoint, files)


def test_every_difference_is_named_at_once(checkpoint: Path) -> None:
    files = _recorded(checkpoint)
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "LICENSE").unlink()
    (checkpoint / "extra.json").write_text("{}")
    with pytest.raises(PublishError) as caught:
        verify_checkpoint(checkpoint, files)
    assert caught.value.message == (
        f"{checkpoint} is not what was recorded: LICENSE is missing; "
        "extra.json is not part of the checkpoint; config.json was changed"
    )


def test_the_record_may_stand_beside_what_it_records_and_is_checked_where_its_hash_is_known(
    checkpoint: Path,
) -> None:
    files = _recorded(checkpoint)
    (checkpoint / RECORD_FILE).write_text("{}")
    verify_checkpoint(checkpoint, files)
    with pytest.raises(PublishError, match=f"{RECORD_FILE} was changed"):
        verify_checkpoint(checkpoint, {**files, RECORD_FILE: "0" * 64})


@pytest.mark.parametrize("name", ["run.py", "model.bin", "weights.pkl", ".netrc", "install.sh", "x\n.exe"])
def test_a_name_without_a_place_is_refused(name: str, checkpoint: Path) -> None:
    (checkpoint / name).write_text("x")
    with pytest.raises(PublishError, match="has no place in a checkpoint") as caught:
        check_files(checkpoint)
    assert repr(name) in caught.value.message


def test_links_pipes_and_folders_are_refused_and_not_followed(checkpoint: Path) -> None:
    odd = checkpoint / "odd.json"
    odd.symlink_to("/etc/hostname")
    with pytest.raises(PublishError, match=r"'odd\.json' is a symbolic link, not a regular file"):
        check_files(checkpoint)
    odd.unlink()
    os.mkfifo(odd)
    with pytest.raises(PublishError, match="is a named pipe"):
        check_files(checkpoint)
    odd.unlink()
    odd.mkdir()
    with pytest.raises(PublishError, match="is a folder"):
        check_files(checkpoint)


def test_a_link_instead_of_a_side_folder_is_not_followed(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.txt").write_text("x")
    folder = checkpoint / "additional_chat_templates"
    (folder / "rag.jinja").unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PublishError, match="is a symbolic link"):
        check_files(checkpoint)


def test_a_missing_folder_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="nowhere cannot be read: No such file or directory"):
        check_files(tmp_path / "nowhere")
