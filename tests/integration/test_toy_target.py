"""A new target is one new file: the whole command knows it, from the manifest to the published checkpoint."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.support.small_runs import FASTEST, manifest, report
from tests.support.toy_package import ToyPackage

CELL = "tiny-bnb-8bit"
CARD = {"SHELF_CARD": "7"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ToyPackage:
    return ToyPackage(tmp_path_factory.mktemp("toy") / "package", target="targets/toy.py")


def test_it_takes_one_file(package: ToyPackage) -> None:
    assert list(package.added) == ["targets/toy.py"]
    assert package.others() == []


def test_it_is_published_to_by_the_whole_command(
    package: ToyPackage, small_model: Path, calibration_text: Path, tmp_path: Path
) -> None:
    publish = {"to": "toy", "shelf": "books", "labels": 2, "namespace": "acme"}
    path = manifest(tmp_path, small_model, calibration_text, FASTEST, publish=publish)
    valid = package.run("validate", path, cwd=tmp_path)
    assert (valid.returncode, valid.stderr) == (0, "")

    planned = package.run("plan", path, "--format", "json", cwd=tmp_path)
    assert json.loads(planned.stdout)["publish"] == {
        "to": "toy",
        "path": None,
        "namespace": "acme",
        "private": True,
        "needs_credentials": True,
    }
    table = package.run("plan", path, cwd=tmp_path).stdout
    assert f"Published to the shelf {tmp_path / 'books'}." in table

    refused = package.run("run", path, cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: publish.to: toy needs a card\n  Set SHELF_CARD.\n",
    )

    done = package.run("run", path, cwd=tmp_path, **CARD)
    assert done.returncode == 0, done.stderr
    cell = report(tmp_path / "output")[CELL]
    assert (cell["status"], cell["commit"]) == ("published", cell["fingerprint"][:40])
    archive = tmp_path / "books" / "acme--tiny-bnb-8bit.2.tar"
    with tarfile.open(archive) as file:
        assert {"config.json", "model.safetensors", "README.md"} <= set(file.getnames())

    written = json.loads((tmp_path / "output" / "report.json").read_text(encoding="utf-8"))["publish"]
    assert written == {"to": "toy", "path": None, "private": True, "shelf": "../books", "labels": 2}
    content = archive.read_bytes()
    archive.unlink()
    again = package.run("publish", "output", cwd=tmp_path, **CARD)
    assert again.returncode == 0, again.stderr
    assert archive.read_bytes() == content

    unchanged = package.run("run", path, cwd=tmp_path, **CARD)
    assert unchanged.returncode == 0
    assert "tiny-bnb-8bit is skipped: unchanged" in unchanged.stderr

    back = package.run("publish", "output", "--rollback", CELL, cwd=tmp_path, **CARD)
    assert back.returncode == 2
    assert "is in a shelf, which keeps no history: there is nothing to go back to" in back.stderr


@pytest.mark.parametrize(
    ("publish", "message"),
    [
        (
            {"to": "toyy"},
            "publish.to: `toyy` is not allowed here. Allowed: directory, hub, toy. Perhaps you meant `toy`?",
        ),
        ({"to": "toy", "labels": -1}, "publish.labels: -1 is less than 0, the smallest that is allowed."),
        ({"to": "toy", "tag": True}, "publish.tag: a shelf has none; it is for `to: hub`."),
        ({"labels": 3}, "publish.labels: a folder has none; it is for `to: toy`."),
        ({"to": "hub", "labels": 3}, "publish.labels: the Hub has none; it is for `to: toy`."),
    ],
)
def test_a_mistake_is_explained(
    package: ToyPackage, publish: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("words", encoding="utf-8")
    path = manifest(tmp_path, Path("acme/tiny"), tmp_path / "text.txt", FASTEST, publish=publish)
    done = package.run("validate", path, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("publish.") == 1
    assert message in done.stderr
