"""A local folder that looks as the Hub would hold it."""

from __future__ import annotations

from pathlib import Path

from quantize_lib.options import PathOption
from quantize_lib.targets.entry import Target

PATH = PathOption(
    name="path",
    default=Path("published"),
    words={
        "title": "Folder",
        "description": "The folder of `to: directory`.",
        "$ref": "#/$defs/line",
    },
    written={"type": "string"},
    always_written=True,
    for_others=True,
)

TARGET = Target(
    name="directory",
    order=1,
    place="a folder",
    summary="a local folder that looks as the Hub would hold it",
    label="{path}",
    publisher="quantize_lib.publish.directory.publisher:DirectoryPublisher",
    options=(PATH,),
)
