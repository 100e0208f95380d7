"""What small helpers for files promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.files import is_lfs_pointer

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 1234567\n"


@pytest.mark.parametrize(
    "data",
    [
        POINTER,
        POINTER.rstrip(b"\n"),
        POINTER.replace(b"\n", b"\r\n"),
        POINTER.replace(b"git-lfs", b"hawser"),
        POINTER.replace(b"\noid", b"\next-0-foo sha256:" + b"ab" * 32 + b"\noid"),
    ],
    ids=["as git writes it", "without its last line end", "with CRLF", "of the first version", "extended"],
)
def test_a_git_lfs_pointer_is_told_from_its_bytes_and_from_its_path(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    assert is_lfs_pointer(data)
    assert is_lfs_pointer(file)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"The specification (version https://git-lfs.github.com/spec/v1) says:\n" + POINTER,
        POINTER + b"and more text\n",
        POINTER + b" " * 1024,
        b"\xff\xfe" + POINTER.decode().encode("utf-16-le"),
    ],
)
def test_what_only_speaks_of_git_lfs_is_no_pointer(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(data)
    assert not is_lfs_pointer(data)
    assert not is_lfs_pointer(file)
