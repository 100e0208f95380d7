"""How a container is started and how its end is told, without an engine."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.cli.arguments import parse_arguments
from quantize_lib.errors import CheckpointError, EngineError
from quantize_lib.executors.docker.container_output import OutputLimits, exceeded, take
from quantize_lib.executors.docker.container_spec import (
    Bind,
    ContainerSpec,
    check_readable,
    container_environment,
    model_bind,
    weight_limit,
    write_container_job,
)
from quantize_lib.executors.docker.container_stream import BURST, Listener
from quantize_lib.executors.docker.daemon import default_image, how_to_get, is_leftover, process_identity
from quantize_lib.executors.docker.executor import failure
from quantize_lib.files import remove_tree
from quantize_lib.job.job_file import JobCell, JobFile, JobModel, JobText, read_job
from quantize_lib.methods.settings import Settings


def spec(**changes: Any) -> ContainerSpec:
    """A container's specification."""
    values: dict[str, Any] = {
        "image": "image",
        "name": "name",
        "owner": "owner",
        "user": (1000, 1000),
        "binds": (Bind(source=Path("/a:b"), target="/model"),),
        "memory": 2**30,
        "file_size": 2**31,
        "gpus": False,
    }
    return ContainerSpec(**values | changes)


def test_a_container_starts_with_every_door_shut() -> None:
    options = spec().options()
    assert options["network_mode"] == "none"
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges:true"]
    assert options["user"] == "1000:1000"
    assert options["mem_limit"] == options["memswap_limit"] == 2**30
    assert 256 < options["pids_limit"] < 100_000
    assert options["device_requests"] is None
    assert not {"privileged", "cap_add", "devices", "volumes", "pid_mode", "ports"} & set(options)


def test_a_path_with_a_colon_is_one_path() -> None:
    (mount,) = spec().options()["mounts"]
    assert mount == {"Source": "/a:b", "Target": "/model", "Type": "bind", "ReadOnly": True}


def test_gpus_are_asked_for_where_the_job_is_for_them() -> None:
    (request,) = spec(gpus=True).options()["device_requests"]
    assert request["Capabilities"] == [["gpu"]]
    assert request["Count"] == -1


def test_a_container_is_told_threads_and_devices_and_no_token() -> None:
    host = {"OMP_NUM_THREADS": "2", "HF_TOKEN": "hf_secret", "HOME": "/root", "PATH": "/bin"}
    told = container_environment(host)
    assert told.pop("OMP_NUM_THREADS") == "2"
    assert told.pop("GOMP_SPINCOUNT") == "10000"
    assert told.pop("THP_MEM_ALLOC_ENABLE") == "1"
    assert container_environment({"GOMP_SPINCOUNT": "0"})["GOMP_SPINCOUNT"] == "0"
    assert all(name.startswith("HF_HUB_") and value == "1" for name, value in told.items())


def test_a_snapshot_of_the_hub_comes_with_the_files_that_it_links_to(tmp_path: Path) -> None:
    repository = tmp_path / "models--acme--model"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    bind, inside = model_bind(snapshot)
    assert bind == Bind(source=repository, target="/model")
    assert inside == f"/model/snapshots/{'0' * 40}"


def test_a_local_model_keeps_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    bind, inside = model_bind(folder)
    assert (bind.source, bind.target, inside) == (folder, inside, "/model/my model")
    assert bind.read_only


def test_the_job_in_a_container_names_only_paths_of_the_container(tmp_path: Path) -> None:
    text = tmp_path / "calibration.json"
    text.write_text("[]")
    job = JobFile(
        id="job",
        model=JobModel(path=tmp_path / "model", name="model", revision="r"),
        device="cpu",
        calibration=JobText(texts=text, source="s", dataset=None, revision="r", samples=1, sequence_length=8),
        evaluation=None,
        cells=(JobCell(id="a", settings=Settings(method="gptq", bits=4)),),
        output=tmp_path,
    )
    old = os.umask(0o077)
    try:
        write_container_job(job, "/model/model", (), tmp_path / "inside")
    finally:
        os.umask(old)
    written = (tmp_path / "inside" / "job.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in written
    seen = read_job(tmp_path / "inside" / "job.json")
    assert str(seen.model.path) == "/model/model"
    assert str(seen.output) == "/output"
    assert seen.calibration is not None
    assert str(seen.calibration.texts) == "/job/calibration.json"
    assert {path.name for path in (tmp_path / "inside").iterdir()} == {"job.json", "calibration.json"}
    # Another user than ours may have to read them.
    assert all(path.stat().st_mode & stat.S_IROTH for path in (tmp_path / "inside").iterdir())


def test_a_model_that_the_container_cannot_read_is_told_with_the_command_that_helps(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch(mode=0o600)
    tmp_path.chmod(0o755)
    with pytest.raises(EngineError, match="cannot be read by user 4711") as caught:
        check_readable(tmp_path, (4711, 4711))
    assert caught.value.hint is not None
    assert f"chmod -R a+rX {tmp_path}" in caught.value.hint
    check_readable(tmp_path, (os.getuid(), os.getgid()))
    (tmp_path / "model.safetensors").chmod(0o644)
    check_readable(tmp_path, (4711, 4711))


def test_a_job_may_write_all_its_checkpoints_with_room_to_spare(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    assert weight_limit(tmp_path, 5) == 2 * 1000 * 6 + 2 * 2**30


@pytest.mark.parametrize(
    ("code", "oom", "message", "hint"),
    [
        (137, True, "more memory than its limit of 8.0 GB", "Raise --memory"),
        (1, True, "more memory than its limit of 8.0 GB", "Raise --memory"),
        (137, False, "killed from outside", "docker kill"),
        (143, False, "stopped from outside", "docker stop"),
        (130, False, "stopped from outside", "docker stop"),
        (1, False, "(exit code 1): last words", "log.txt"),
    ],
)
def test_every_end_has_its_reason_and_advice(
    code: int, oom: bool, message: str, hint: str, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    log = tmp_path / "log.txt"
    log.write_text("first words\nlast words\n", encoding="utf-8")
    error = failure(code, oom=oom, memory="8.0 GB", output_dir=made, log=log)
    assert message in error.message
    assert error.hint is not None
    assert hint in error.hint


def test_a_container_that_says_nothing_at_all_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "log.txt").touch()
    error = failure(9, oom=False, memory="", output_dir=tmp_path / "made", log=tmp_path / "log.txt")
    assert "(exit code 9): it said nothing" in error.message


def test_a_running_process_leaves_nothing_over_and_an_ended_one_does() -> None:
    own = process_identity(os.getpid())
    assert not is_leftover(own)
    machine, pid, started = own.rsplit("/", 2)
    assert is_leftover(f"{machine}/{pid}/{int(started) + 1}"), "another process has that pid now"
    assert is_leftover(f"{machine}/{2**22 + 1}/1")
    assert not is_leftover(f"elsewhere/{pid}/{started}")
    assert not is_leftover("no name of ours")


@pytest.mark.parametrize("gpu", [False, True])
def test_there_is_a_default_image(gpu: bool) -> None:
    assert default_image(gpu=gpu)
    assert default_image(gpu=True) != default_image(gpu=False)


@pytest.mark.parametrize(
    ("image", "command"),
    [
        ("ghcr.io/acme/mq@sha256:0", "docker pull ghcr.io/acme/mq@sha256:0"),
        ("model-quantizer:cpu", "docker build --file Dockerfile --tag model-quantizer:cpu ."),
        ("model-quantizer:cuda", "docker build --file Dockerfile.cuda --tag model-quantizer:cuda ."),
        ("mine", "docker build --file Dockerfile --tag mine ."),
    ],
)
def test_a_missing_image_is_told_with_the_command_that_brings_it(image: str, command: str) -> None:
    assert how_to_get(image).startswith(command)


def test_what_is_too_much_is_told(tmp_path: Path) -> None:
    limits = OutputLimits(size=10_000, entries=3, free=0)
    assert exceeded(tmp_path, limits) is None
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(20_000)
    assert exceeded(tmp_path, limits) == "it wrote more than 10.0 kB"
    (tmp_path / "sparse").unlink()
    for name in "abcd":
        (tmp_path / name).symlink_to("/")
    assert exceeded(tmp_path, limits) == "it made more than 3 files"
    assert exceeded(tmp_path, OutputLimits(size=1, free=2**80)) is not None


def test_only_what_was_asked_for_is_taken_and_it_becomes_ours(tmp_path: Path) -> None:
    made, target = tmp_path / "made", tmp_path / "target"
    (made / "cell").mkdir(parents=True)
    target.mkdir()
    (made / "cell" / "config.json").touch(mode=0o000)
    (made / "cell").chmod(0o777)
    (made / "result.json").write_text("{}")
    (made / "other").mkdir()
    take(made, ["cell", "missing"], target)
    assert {path.name for path in target.iterdir()} == {"cell", "result.json"}
    assert stat.S_IMODE((target / "cell").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "cell" / "config.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["result.json", "cell"])
def test_a_link_is_never_taken(name: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / name).symlink_to(tmp_path)
    with pytest.raises(CheckpointError):
        take(made, ["cell"], tmp_path)


def test_a_tree_of_any_depth_and_mode_is_removed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(kept)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (folder / "shut").mkdir()
    (folder / "shut" / "file").touch()
    (folder / "shut").chmod(0)
    remove_tree(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


class Lines:
    """A reporter that keeps plain lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, _name: str) -> Any:
        return self.lines.append


def listen(stream: list[tuple[bytes | None, bytes | None]], log: Path) -> tuple[Listener, list[str]]:
    """What a listener makes of a stream."""
    reporter = Lines()
    listener = Listener(iter(stream), reporter, log)
    listener.run()
    return listener, reporter.lines


def test_lines_are_put_together_from_pieces_and_errors_go_to_the_log(tmp_path: Path) -> None:
    event = json.dumps({"event": "info", "message": "hello"}).encode()
    _, lines = listen([(event[:5], b"one"), (event[5:] + b"\nand", None), (None, b" two")], tmp_path / "log")
    assert lines == ["hello", "and"]
    assert (tmp_path / "log").read_text() == "one two"


def test_who_prints_without_end_is_heard_no_more_but_read_to_the_end(tmp_path: Path) -> None:
    stream: list[tuple[bytes | None, bytes | None]] = [(b"x" * BURST, None), (b"y" * 10_000, None)]
    rest = iter([*stream, (b"\nlate\n", None)])
    reporter = Lines()
    listener = Listener(rest, reporter, tmp_path / "log")
    listener.run()
    assert listener.flooded
    assert "late" not in reporter.lines
    assert next(rest, None) is None


@pytest.mark.parametrize(
    ("words", "memory", "timeout"),
    [
        ([], None, None),
        (["--memory", "8g", "--timeout", "90m"], 8 * 2**30, 5400),
        (["--memory", "512M", "--timeout", "2h"], 512 * 2**20, 7200),
        (["--memory", "1000000000", "--timeout", "30"], 10**9, 30),
    ],
)
def test_sizes_and_times_have_units(words: list[str], memory: int | None, timeout: int | None) -> None:
    options = parse_arguments(["run", "q.yml", "--executor", "docker", *words])
    assert (options.memory, options.timeout) == (memory, timeout)


@pytest.mark.parametrize(
    "words", [["--memory", "8x"], ["--memory", "-1"], ["--timeout", "0"], ["--timeout", "h"]]
)
def test_nonsense_for_a_limit_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["run", "q.yml", *words])
    assert caught.value.code == 2
    assert f"{words[1]!r} is not a" in capsys.readouterr().err
