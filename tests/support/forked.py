"""A module that does what its question says; for the template's test."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from quantize_lib.files import read_json, write_json


def main(arguments: list[str]) -> int:
    """As every module that answers a question."""
    question, answer = map(Path, arguments)
    asked = read_json(question)
    print("printed by", asked["do"], flush=True)
    if asked["do"] == "fail":
        raise RuntimeError("on purpose")
    if asked["do"] == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if asked["do"] == "wait":
        write_json(answer, {"process": os.getpid()})
        time.sleep(600)
    import torch

    # Something that several threads compute.
    total = float((torch.ones(600, 600) @ torch.ones(600, 600)).sum())
    write_json(answer, {"process": os.getpid(), "total": total, "folder": str(Path.cwd())})
    return int(asked.get("code", 0))
