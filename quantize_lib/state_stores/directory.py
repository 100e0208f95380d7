"""A folder that outlives the machine, as on a network disk."""

from __future__ import annotations

from pathlib import Path

from quantize_lib.options import PathOption
from quantize_lib.state_stores.entry import StateStore

PATH = PathOption(
    name="path",
    default=Path("state"),
    words={
        "title": "Folder",
        "description": "The folder of `in: directory`. It is made where it is missing; two manifests that "
        "name one model need one each.",
        "$ref": "#/$defs/line",
    },
    written={"type": "string"},
)

STATE_STORE = StateStore(
    name="directory",
    order=2,
    summary="a folder that outlives the machine",
    label="{path}",
    keeper="quantize_lib.kept_state.directory:DirectoryStore",
    options=(PATH,),
)
