"""Which images a run needs."""

from __future__ import annotations

import json

import pytest

from tools.action import images

OWN = json.loads(images.IMAGES.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("devices", "runtimes", "kinds"),
    [
        (["cpu"], '{"nvidia": {}}', ["cpu"]),
        (["cuda"], "{}", ["cuda"]),
        (["auto"], '{"nvidia": {}, "runc": {}}', ["cuda"]),
        (["auto"], '{"runc": {}}', ["cpu"]),
        (["auto"], None, ["cpu"]),
        (["cpu", "cuda", "cpu"], "{}", ["cpu", "cuda"]),
    ],
)
def test_the_device_decides_and_auto_is_a_gpu_where_the_engine_has_one(
    monkeypatch: pytest.MonkeyPatch, devices: list[str], runtimes: str | None, kinds: list[str]
) -> None:
    monkeypatch.setattr(images, "_docker", lambda *_words: runtimes)
    assert images.own_images(devices) == [OWN[kind] for kind in kinds]
