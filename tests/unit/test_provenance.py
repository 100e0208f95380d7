"""Where a checkpoint was made: an image and a workflow run, as far as readers of a card may know them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantize_lib.executors.docker.daemon import pinned_image
from quantize_lib.host.provenance import provenance


def environ(folder: Path, event: object) -> dict[str, str]:
    path = folder / "event.json"
    path.write_text(event if isinstance(event, str) else json.dumps(event), encoding="utf-8")
    return {
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "acme/models",
        "GITHUB_RUN_ID": "42",
        "GITHUB_EVENT_PATH": str(path),
    }


def test_a_run_of_a_public_repository_is_named(tmp_path: Path) -> None:
    found = provenance(environ(tmp_path, {"repository": {"private": False}}), None)
    assert found == {"workflow_run": "https://github.com/acme/models/actions/runs/42"}


@pytest.mark.parametrize(
    "event", [{"repository": {"private": True}}, {"repository": {}}, {"repository": None}, {}, [], "", "{"]
)
def test_a_run_of_a_repository_that_is_not_known_to_be_public_is_not_named(
    tmp_path: Path, event: object
) -> None:
    assert provenance(environ(tmp_path, event), None) == {}


@pytest.mark.parametrize(
    "missing", ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_EVENT_PATH"]
)
def test_outside_of_a_workflow_there_is_none(tmp_path: Path, missing: str) -> None:
    known = environ(tmp_path, {"repository": {"private": False}})
    del known[missing]
    assert provenance(known, None) == {}


def test_the_image_is_named_where_there_is_one() -> None:
    assert provenance({}, "acme/it@sha256:00") == {"image": "acme/it@sha256:00"}


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("name", "digests", "pinned"),
    [
        ("ghcr.io/acme/it:1", [f"ghcr.io/acme/it@{DIGEST}"], f"ghcr.io/acme/it@{DIGEST}"),
        ("host:5000/it", [f"other/x@{DIGEST}", f"host:5000/it@{DIGEST}"], f"host:5000/it@{DIGEST}"),
        (f"acme/it@{DIGEST}", [f"docker.io/acme/it@{DIGEST}"], f"docker.io/acme/it@{DIGEST}"),
        ("model-quantizer:cpu", [], "model-quantizer:cpu (sha256:1)"),
        ("model-quantizer:cpu", [f"other/x@{DIGEST}"], "model-quantizer:cpu (sha256:1)"),
    ],
)
def test_an_image_is_known_by_its_registrys_digest_else_by_its_id(
    name: str, digests: list[str], pinned: str
) -> None:
    assert pinned_image(name, digests, "sha256:1") == pinned
