"""Brings the container images that a run needs. Standard library only."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tools.action.github import annotate

IMAGES = Path(__file__).resolve().parents[2] / "quantize_lib" / "executors" / "docker" / "image.json"
"""The images of this version; a release names them by digest."""


def pull(image: str, devices: Iterable[str]) -> int:
    """Pull the images that the engine lacks.

    One without a registry in its name is built, not pulled. Where it is missing, or no engine answers, the
    run says so and what to do.

    Args:
        image: that the caller names; empty for those of this version.
        devices: of the plan's jobs.

    Returns:
        Not 0 where an image cannot be pulled.
    """
    if shutil.which("docker") is None:
        return 0
    for name in [image] if image else own_images(devices):
        if "/" not in name or _docker("image", "inspect", name) is not None:
            continue
        if subprocess.run(["docker", "pull", "--quiet", name], check=False).returncode != 0:
            annotate("error", f"the image {name} cannot be pulled")
            return 2
    return 0


def own_images(devices: Iterable[str]) -> list[str]:
    """This version's images for the devices; `auto` is a GPU where the engine has one."""
    by_kind = json.loads(IMAGES.read_text(encoding="utf-8"))
    return sorted({by_kind["cuda" if _on_gpu(device) else "cpu"] for device in devices})


def _on_gpu(device: str) -> bool:
    if device != "auto":
        return device == "cuda"
    return "nvidia" in (_docker("info", "--format", "{{json .Runtimes}}") or "")


def _docker(*words: str) -> str | None:
    """What a docker command prints; None where it fails."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
