"""What is said of a folder that cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from quantize_lib.checkpoint.assemble import cannot_write


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EFBIG, "Free some space"),
        (errno.EACCES, "Let this user write there"),
        (errno.EPERM, "Let this user write there"),
        (errno.EROFS, "Let this user write there"),
    ],
)
def test_the_advice_fits_the_reason(number: int, advice: str) -> None:
    error = cannot_write(Path("out"), OSError(number, os.strerror(number)))
    assert error.message == f"out cannot be written: {os.strerror(number)}"
    assert error.hint == (
        f"{advice} or choose another folder with --output, then run the same command again."
    )
