"""Quantizers that have an environment of their own: each is a script here, run by that environment's Python.

What one made is kept: it takes up to hours, and is not made again from the same model, tokens and options.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.files import sha256_file


def outside_row(
    python: Path, script: str, work: Path, name: str, *, model: Path, ids: Path, options: Mapping[str, Any]
) -> tuple[dict[str, Any], Path]:
    """One quantizer's side of a comparison: a row, and the folder of the checkpoint.

    Args:
        python: of the environment.
        script: of this package, without `.py`. It takes `--model`, `--ids`, `--folder` and the options, and
            prints settings with `seconds` as JSON on its last line.
        name: of the checkpoint's folder and of what is noted of it, in `work`.
        ids: file of the calibration's token ids.

    Raises:
        subprocess.CalledProcessError: where it fails.
    """
    folder, note = work / name, work / f"{name}.json"
    asked = {"model": str(model.resolve()), "ids": sha256_file(ids), "options": dict(options)}
    made: dict[str, Any] = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if made.get("asked") != asked:
        note.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        given = {"model": model, "ids": ids, "folder": folder, **options}
        words = [part for option, value in given.items() for part in (f"--{option}", str(value))]
        done = subprocess.run(
            [python, "-m", f"benchmarks.{script}", *words], check=True, stdout=subprocess.PIPE, text=True
        )
        made = {"asked": asked, "settings": json.loads(done.stdout.splitlines()[-1])}
        note.write_text(json.dumps(made), encoding="utf-8")
    settings = made["settings"]
    # AutoRound makes a folder inside, named after the model and the bits.
    (config,) = folder.rglob("config.json")
    return {"seconds": round(settings.pop("seconds"), 1), "settings": settings}, config.parent
