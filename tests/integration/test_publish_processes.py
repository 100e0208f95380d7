"""Publishing beside readers, other writers, crashes and a full disk, in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantize_lib.environment import clean_environment
from quantize_lib.files import sha256_file, write_json
from quantize_lib.report.records import RECORD_FILE

REPOSITORY = "acme/tiny"

WRITER = """
import sys
from pathlib import Path
from quantize_lib.publish.directory.publisher import DirectoryPublisher
from quantize_lib.targets import publish_spec
publisher = DirectoryPublisher(publish_spec("directory", path=Path(sys.argv[1])))
for number in range(int(sys.argv[2])):
    cell = sys.argv[3 + number % 2]
    publisher.publish(Path(cell), "acme/tiny", fingerprint=Path(cell).name, message="m")
"""
FULL = """
import sys
from pathlib import Path
from quantize_lib.errors import PublishError
from quantize_lib.publish.directory.publisher import DirectoryPublisher
from quantize_lib.targets import publish_spec
try:
    publisher = DirectoryPublisher(publish_spec("directory", path=Path(sys.argv[1])))
    publisher.publish(Path(sys.argv[2]), "acme/tiny", fingerprint="one", message="m")
    publisher.publish(Path(sys.argv[3]), "acme/tiny", fingerprint="big", message="m")
except PublishError as error:
    print(error)
print((Path(sys.argv[1]) / "acme/tiny/README.md").read_text())
print(sorted(path.name for path in (Path(sys.argv[1]) / ".publishing").iterdir()))
"""


def _checkpoint(folder: Path, weights: int = 1000) -> Path:
    folder.mkdir()
    write_json(folder / "config.json", {"content": folder.name})
    (folder / "README.md").write_text(folder.name)
    (folder / "model.safetensors").write_bytes(folder.name[:1].encode() * weights)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    write_json(folder / RECORD_FILE, {"fingerprint": folder.name, "files": files})
    return folder


def _writer(root: Path, count: int, one: Path, two: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(root), str(count), str(one), str(two)]
    return subprocess.Popen(command, env=clean_environment())


def _state(repository: Path) -> set[str] | None:
    """The contents that a reader finds; None where the state was replaced while it read."""
    before = repository.stat().st_ino
    try:
        said = {
            (repository / "README.md").read_text(),
            json.loads((repository / "config.json").read_text())["content"],
            json.loads((repository / RECORD_FILE).read_text())["fingerprint"],
        }
    except FileNotFoundError:
        said = {"missing"}
    return said if repository.stat().st_ino == before else None


def test_a_reader_sees_one_whole_state_and_never_none(tmp_path: Path) -> None:
    one, two = _checkpoint(tmp_path / "one"), _checkpoint(tmp_path / "two")
    root = tmp_path / "out"
    assert _writer(root, 1, one, two).wait() == 0
    seen: list[set[str]] = []
    writer = _writer(root, 60, two, one)
    while writer.poll() is None:
        state = _state(root / REPOSITORY)
        if state is not None and state not in seen:
            seen.append(state)
    assert writer.returncode == 0
    assert sorted(map(sorted, seen)) == [["one"], ["two"]]


def test_two_writers_of_one_repository_take_turns(tmp_path: Path) -> None:
    one, two = _checkpoint(tmp_path / "one"), _checkpoint(tmp_path / "two")
    root = tmp_path / "out"
    writers = [_writer(root, 20, one, two), _writer(root, 20, two, one)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert _state(root / REPOSITORY) in ({"one"}, {"two"})
    assert [path.name for path in (root / ".publishing").iterdir()] == ["acme--tiny.lock"]


def test_a_writer_that_is_killed_leaves_a_whole_state_and_no_lock(tmp_path: Path) -> None:
    one, two = _checkpoint(tmp_path / "one"), _checkpoint(tmp_path / "two")
    root = tmp_path / "out"
    assert _writer(root, 1, one, two).wait() == 0
    for _ in range(3):
        writer = _writer(root, 10**6, two, one)
        before = (root / REPOSITORY).stat().st_ino
        while (root / REPOSITORY).stat().st_ino == before:
            time.sleep(0.001)
        writer.kill()
        writer.wait()
        assert _state(root / REPOSITORY) in ({"one"}, {"two"})
    assert _writer(root, 2, one, two).wait() == 0
    assert _state(root / REPOSITORY) == {"two"}
    assert [path.name for path in (root / ".publishing").iterdir()] == ["acme--tiny.lock"]


@pytest.mark.linux
def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path) -> None:
    one, big = _checkpoint(tmp_path / "one"), _checkpoint(tmp_path / "big", weights=1 << 20)
    disk = tmp_path / "disk"
    disk.mkdir()
    # A mount of its own, seen by this process alone; root in a namespace where we are not root.
    shell = 'mount -t tmpfs -o size=256k tmpfs "$1" && exec "$2" -c "$3" "$1/out" "$4" "$5"'
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    said = subprocess.run(
        [*unshare, "sh", "-c", shell, "sh", str(disk), sys.executable, FULL, str(one), str(big)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = said.stdout.splitlines()
    assert lines == [
        f"{REPOSITORY} cannot be published to {disk / 'out'}: No space left on device",
        "  Free some space, or choose another publish.path; what was published before is unchanged.",
        "one",
        "['acme--tiny.lock']",
    ]
