"""What a step says to GitHub says nothing else, whatever the value."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.support.action_runner import read_commands, read_outputs
from tools.action.github import annotate, set_outputs

PIECES = st.sampled_from(
    [
        "::set-env name=X::y",
        "##[add-path]",
        "%0A",
        "%",
        "\n",
        "\r",
        "\r\n",
        "end-",
        "<<",
        "=",
        "\x1b[2J",
        "\u2028",
        "a",
    ]
)
VALUES = st.text() | st.lists(PIECES).map("".join)


@given(values=st.dictionaries(st.sampled_from(["report", "failed", "matrix"]), VALUES, min_size=1))
def test_an_output_is_read_back_as_it_was_set(values: dict[str, str]) -> None:
    encodable = {name: value.encode("utf-8", "replace").decode() for name, value in values.items()}
    plain = {name: value.replace("\r", "") for name, value in encodable.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "output"
        set_outputs({"GITHUB_OUTPUT": str(file)}, plain)
        assert read_outputs(file.read_bytes().decode()) == plain


@given(message=VALUES)
def test_a_message_is_one_annotation_and_no_other_command(message: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        annotate("error", message)
    (command,) = read_commands(printed.getvalue())
    assert command.name == "error"
    # What the runner makes of it again holds no control character, and every character that can be shown.
    shown = command.data.replace("%0A", "\n").replace("%25", "%")
    assert len(shown) == len(message)
    assert all(char.isprintable() or char == "\n" for char in shown)
