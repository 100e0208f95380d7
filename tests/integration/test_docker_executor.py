"""The Docker executor on a real engine, with workers that misbehave in every way they can."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from quantize_lib.executors.docker.container_output import OutputLimits, exceeded
from quantize_lib.executors.docker.container_spec import MAX_PROCESSES
from tests.support.containers import (
    CELL,
    CELL_ID,
    GOOD,
    RESULT,
    containers,
    docker_manifest,
    events,
    finish,
    run,
    start,
    wait_for,
    without_torch,
)
from tests.support.hub import Hub, serve
from tests.support.model_files import write_model
from tests.support.small_runs import report

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.docker

Stub = Callable[[str], str]

LOOK_AROUND = (
    RESULT
    + """
import socket
def can_write(path):
    try:
        pathlib.Path(path, "probe").write_text("x")
    except OSError as error:
        return error.strerror
    return "written"
def can_connect(where):
    try:
        socket.create_connection(where, timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "connected"
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
say(event="info", message="SEEN " + json.dumps({
    "environment": dict(os.environ),
    "ids": [os.getuid(), os.getgid()],
    "groups": os.getgroups(),
    "writable": {p: can_write(p) for p in ("/", "/etc", "/job", "/model/one", "/output", "/tmp", "/dev/shm")},
    "interfaces": [name for _, name in socket.if_nameindex()],
    "connections": [can_connect(("1.1.1.1", 53)), can_connect(("127.0.0.1", 22))],
    "capabilities": [status[key].strip() for key in ("CapEff", "CapPrm", "CapBnd")],
    "no new privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "pids": open("/sys/fs/cgroup/pids/pids.max").read().strip()
            if os.path.exists("/sys/fs/cgroup/pids/pids.max")
            else open("/sys/fs/cgroup/pids.max").read().strip(),
}))
checkpoint(); save()
"""
)


def one_cell(folder: Path, image: str, *words: str) -> tuple[int, str, dict[str, object]]:
    """A run of one cell: exit code, what was said, and the cell's record. Nothing is left behind."""
    docker_manifest(folder, "one")
    code, said = run(folder, "--image", image, *words)
    (cell,) = report(folder / "out").values()
    assert [path.name for path in (folder / "out" / ".state").iterdir()] == ["lock"]
    return code, said, cell


def test_the_host_publishes_what_a_container_made_and_loads_no_torch(
    engine: DockerClient, stub: Stub, tmp_path: Path
) -> None:
    code, said, cell = one_cell(tmp_path, stub(GOOD))
    assert code == 0, said
    assert cell["status"] == "published"
    published = tmp_path / "published" / CELL_ID
    assert (published / "README.md").is_file()
    for path in (tmp_path / "out" / CELL_ID, *(tmp_path / "out" / CELL_ID).iterdir(), published):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())
        assert not path.stat().st_mode & (stat.S_ISUID | stat.S_IWOTH)
    assert containers(engine, tmp_path) == []


def test_a_container_gets_the_model_the_job_and_one_folder_and_nothing_else(
    stub: Stub, tmp_path: Path
) -> None:
    docker_manifest(tmp_path, "one")
    secrets = {"HF_TOKEN": "hf_secret", "GITHUB_TOKEN": "ghs_secret", "AWS_SECRET_ACCESS_KEY": "secret"}
    code, said = run(tmp_path, "--image", stub(LOOK_AROUND), env=without_torch(tmp_path) | secrets)
    assert code == 0, said
    seen = events(said, "SEEN ")
    assert not any("secret" in value for value in seen["environment"].values())
    assert not set(secrets) & set(seen["environment"])
    assert 0 not in seen["ids"] + seen["groups"]
    assert seen["writable"] == {
        "/": "Read-only file system",
        "/etc": "Read-only file system",
        "/job": "Read-only file system",
        "/model/one": "Read-only file system",
        "/output": "written",
        "/tmp": "written",
        "/dev/shm": "written",
    }
    assert seen["interfaces"] == ["lo"]
    assert "connected" not in seen["connections"]
    assert {int(value, 16) for value in seen["capabilities"]} == {0}
    assert seen["no new privileges"] == "1"
    assert seen["seccomp"] == "2"
    assert int(seen["pids"]) == MAX_PROCESSES


LEFT = {
    "no result": ("", "left no usable result"),
    "a pipe as result": ("os.mkfifo('/output/result.json')", "left no usable result.json"),
    "a link as result": ("os.symlink('/etc/passwd', '/output/result.json')", "left no usable result.json"),
    "a huge result": ("save(' ' * 2**25)", "left no usable result.json"),
    "no JSON": ("save('{')", "is not JSON"),
    "deep JSON": ("save('[' * 100_000)", "is not JSON"),
    "half a character": (
        "result['versions']['x'] = '\\ud800'; checkpoint(); save()",
        "is not JSON",
    ),
    "no number": ("checkpoint(); save(json.dumps(result).replace('1.0', 'NaN'))", "is not JSON"),
    "half a record": ("result['cells'][cell] = {}; checkpoint(); save()", "is a required property"),
    "a link as checkpoint": ("os.symlink('/etc', out / cell); save()", "something else than a folder"),
    "a link in the checkpoint": (
        "checkpoint(); os.symlink('/etc/passwd', out / cell / 'vocab.txt'); save()",
        "a symbolic link, not a regular file",
    ),
    "a pipe in the checkpoint": (
        "checkpoint(); os.mkfifo(out / cell / 'vocab.json'); save()",
        "a named pipe, not a regular file",
    ),
    "code in the checkpoint": (
        "checkpoint(); (out / cell / 'modeling.py').write_text(''); save()",
        "has no place in a checkpoint",
    ),
    "locked folders": (
        "checkpoint(); save(); d = out / cell / 'a'; d.mkdir(); (d / 'b').mkdir()\n"
        "for path in (d, out / cell, out): path.chmod(0)",
        "'a' is a folder, not a regular file",
    ),
    "a deep folder": (
        "checkpoint(); os.chdir(out / cell)\n"
        "for _ in range(3000): os.mkdir('d'); os.chdir('d')\n"
        "os.chdir('/'); save()",
        "its output cannot be looked at (File name too long)",
    ),
    "exit code 2": (
        "result['cells'][cell] = {'error': 'device cuda: none', 'code': 'usage'}; save(); sys.exit(2)",
        "device cuda: none",
    ),
    "a crash": ("print('boom\\x1b[31m', file=sys.stderr); sys.exit(1)", "(exit code 1): boom[31m"),
    "a kill": ("sys.exit(137)", "killed from outside"),
    "a stop": ("sys.exit(143)", "stopped from outside"),
}


@pytest.mark.parametrize(("code", "reason"), LEFT.values(), ids=list(LEFT))
def test_whatever_a_container_leaves_its_cell_fails_and_the_next_job_runs(
    code: str, reason: str, engine: DockerClient, stub: Stub, tmp_path: Path
) -> None:
    docker_manifest(tmp_path, "one", "two")
    worker = f"{RESULT}\nif cell.startswith('two'): checkpoint(); save(); sys.exit(0)\n{code}"
    exit_code, said = run(tmp_path, "--image", stub(worker))
    cells = report(tmp_path / "out")
    assert exit_code == 3, said
    assert cells[CELL_ID]["status"] == "failed"
    assert reason in cells[CELL_ID]["error"]
    assert cells["two-bnb-8bit"]["status"] == "published"
    assert [path.name for path in (tmp_path / "out" / ".state").iterdir()] == ["lock"]
    assert not (tmp_path / "out" / CELL_ID).exists()
    assert containers(engine, tmp_path) == []


def test_code_that_a_container_changed_is_not_published(stub: Stub, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    hub = Hub()
    commit = hub.add_model("acme/one", {**files, "modeling.py": b"good"}).head
    entry = {"id": "acme/one", "revision": commit, "trust_remote_code": True, "quantize": [CELL]}
    path = tmp_path / "quantize.yml"
    path.write_text(yaml.safe_dump({"version": 1, "models": [entry]}), encoding="utf-8")
    worker = RESULT + "checkpoint(); (out / cell / 'modeling.py').write_text('evil'); save()"
    with serve(hub):
        env = without_torch(tmp_path) | hub.environment(tmp_path / "hub")
        code, said = run(tmp_path, "--image", stub(worker), env=env)
    assert code == 3, said
    (cell,) = report(tmp_path / "out").values()
    assert cell["error"] == "one-bnb-8bit: modeling.py is not the base model's file"
    assert not (tmp_path / "published").exists()


TOO_MUCH = {
    "memory": ("x = b'x' * 2**30", ("--memory", "128m"), "needs more memory than its limit of 134.2 MB"),
    "time": ("time.sleep(600)", ("--timeout", "2s"), "took longer than 2 s"),
    "words": ("while True: print('x' * 60_000)", (), "printed without end"),
    "bytes": (
        "for n in range(20): open(out / str(n), 'w').truncate(2**30)\ntime.sleep(600)",
        (),
        "it wrote more than",
    ),
    "files": (
        "for n in range(110_000): open(out / str(n), 'w').close()\ntime.sleep(600)",
        (),
        "it made more than 100,000 files",
    ),
}


@pytest.mark.parametrize(("code", "words", "reason"), TOO_MUCH.values(), ids=list(TOO_MUCH))
def test_a_container_that_takes_too_much_is_ended(
    code: str, words: tuple[str, ...], reason: str, engine: DockerClient, stub: Stub, tmp_path: Path
) -> None:
    exit_code, said, cell = one_cell(tmp_path, stub(RESULT + code), *words)
    assert exit_code == 3, said
    assert reason in str(cell["error"])
    assert containers(engine, tmp_path) == []


def test_a_single_file_cannot_be_larger_than_the_job_may_write(stub: Stub, tmp_path: Path) -> None:
    worker = RESULT + "open(out / 'x', 'w').truncate(2**40)"
    exit_code, said, cell = one_cell(tmp_path, stub(worker))
    assert exit_code == 3, said
    assert "File too large" in str(cell["error"])


def test_a_disk_that_runs_full_ends_a_container(tmp_path: Path) -> None:
    reason = exceeded(tmp_path, OutputLimits(size=2**40, free=2**60))
    assert reason is not None
    assert "left" in reason


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_leaves_a_report_and_no_container(
    number: signal.Signals, engine: DockerClient, stub: Stub, tmp_path: Path
) -> None:
    docker_manifest(tmp_path, "one", "two")
    process = start(tmp_path, "--image", stub("import time; print('here', flush=True); time.sleep(600)"))
    wait_for(process.stderr, "here")
    assert len(containers(engine, tmp_path)) == 1
    process.send_signal(number)
    code, said = finish(process)
    assert code == 130, said
    assert containers(engine, tmp_path) == []
    assert {cell["error"] for cell in report(tmp_path / "out").values()} == {"interrupted"}


def test_the_next_run_removes_what_a_killed_one_left(
    engine: DockerClient, stub: Stub, tmp_path: Path
) -> None:
    docker_manifest(tmp_path, "one")
    process = start(tmp_path, "--image", stub("import time; print('here', flush=True); time.sleep(600)"))
    wait_for(process.stderr, "here")
    process.kill()
    process.communicate()
    (left,) = containers(engine, tmp_path)
    code, said = run(tmp_path, "--image", stub(GOOD))
    assert code == 0, said
    assert f"removed the container {left.removeprefix('/')} of a run that is gone" in said
    assert containers(engine, tmp_path) == []


def test_two_runs_at_once_leave_each_other_alone(engine: DockerClient, stub: Stub, tmp_path: Path) -> None:
    docker_manifest(tmp_path, "one")
    slow = stub(RESULT + "say(event='info', message='here'); time.sleep(5); checkpoint(); save()")
    first = start(tmp_path, "--image", slow, "--no-publish", output="first")
    wait_for(first.stderr, "here")
    second = start(tmp_path, "--image", slow, "--no-publish", output="second")
    assert [finish(first)[0], finish(second)[0]] == [0, 0]
    for name in ("first", "second"):
        assert report(tmp_path / name)[CELL_ID]["status"] == "built"
    assert containers(engine, tmp_path) == []


@pytest.mark.docker(root=True)
def test_an_engine_that_stops_in_the_middle_fails_the_cells_that_are_left(stub: Stub, tmp_path: Path) -> None:
    docker_manifest(tmp_path, "one", "two")
    image = stub(RESULT + "say(event='info', message='here'); time.sleep(600)")
    with second_engine() as (host, stop):
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
            subprocess.run(["docker", "--host", host, "load", "--quiet"], stdin=save.stdout, check=True)
        process = start(tmp_path, "--image", image, env=without_torch(tmp_path) | {"DOCKER_HOST": host})
        wait_for(process.stderr, "here")
        stop()
        code, said = finish(process)
    assert code == 3, said
    cells = report(tmp_path / "out")
    assert "Docker engine went away" in cells[CELL_ID]["error"]
    assert "Start it again, then run the same command" in cells["two-bnb-8bit"]["error"]
    assert [path.name for path in (tmp_path / "out" / ".state").iterdir()] == ["lock"]


@contextmanager
def second_engine() -> Iterator[tuple[str, Callable[[], None]]]:
    """An engine of its own, which a test may kill: its address, and what kills it."""
    # In a network of its own: an engine that has no bridge removes the one of its neighbour.
    sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
    # Not below pytest's folder: a socket's path is short, and what root made has to go.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        host = f"unix://{temporary}/s"
        pid_file = Path(temporary, "pid")
        command = [
            *sudo,
            "unshare",
            "--net",
            "dockerd",
            "--host",
            host,
            "--pidfile",
            str(pid_file),
            "--bridge",
            "none",
        ]
        command += ["--iptables=false", "--data-root", f"{temporary}/d", "--exec-root", f"{temporary}/e"]
        with Path(temporary, "log").open("wb") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        words = ["docker", "--host", host, "version"]
        for _ in range(60):
            if subprocess.run(words, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(1)

        def stop() -> None:
            if daemon.poll() is None:
                subprocess.run([*sudo, "kill", "-KILL", pid_file.read_text()], check=True)
                daemon.wait(timeout=60)

        try:
            yield host, stop
        finally:
            stop()
            # What it started goes on without it: its containerd, and the containers below their shims.
            subprocess.run([*sudo, "kill", "-KILL", *map(str, started_by(temporary))], check=False)
            time.sleep(1)
            mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
            for point in [line.split()[1] for line in mounts if temporary in line]:
                subprocess.run([*sudo, "umount", "--lazy", point], check=False)
            subprocess.run([*sudo, "rm", "-rf", f"{temporary}/d", f"{temporary}/e"], check=True)


def started_by(folder: str) -> list[int]:
    """The processes that name a folder in their command line, and their children; this one left out."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [(int(pid), int(parent), args) for pid, parent, args in map(_row, listed.stdout.splitlines())]
    named = {pid for pid, _, args in rows if folder in args} - {os.getpid()}
    return sorted(named | {pid for pid, parent, _ in rows if parent in named})


def _row(line: str) -> list[str]:
    return line.split(maxsplit=2)


def test_a_missing_image_is_told_before_anything_is_fetched(engine: DockerClient, tmp_path: Path) -> None:
    del engine
    path = docker_manifest(tmp_path, "one")
    path.write_text(path.read_text(encoding="utf-8").replace(str(tmp_path / "models/one"), "acme/not-here"))
    code, said = run(tmp_path, "--image", "ghcr.io/acme/model-quantizer@sha256:" + "0" * 64)
    assert code == 2
    assert "error: --image: the Docker engine has no image ghcr.io/acme/model-quantizer@sha256:0" in said
    assert "Run: docker pull ghcr.io/acme/model-quantizer@sha256:0" in said
    assert not (tmp_path / "out").exists()


def test_gpus_that_the_engine_does_not_have_are_told_before_anything_is_fetched(
    engine: DockerClient, tmp_path: Path
) -> None:
    if "nvidia" in engine.info().get("Runtimes", {}):
        pytest.fail("this engine has GPUs: run a cell on them and make that a test")
    docker_manifest(tmp_path, "one")
    code, said = run(tmp_path, "--device", "cuda")
    assert code == 2
    assert "device cuda: the Docker engine has no NVIDIA runtime" in said
    assert not (tmp_path / "out").exists()
