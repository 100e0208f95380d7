"""How a container is started: the trust boundary, as the options of one `create` call.

The base model is foreign and may run code, so the container gets nothing but the model and the job to read,
and one folder to write to.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantize_lib.environment import COMPUTE_DEFAULTS
from quantize_lib.errors import EngineError
from quantize_lib.executors.docker.daemon import OWNER_LABEL, process_identity
from quantize_lib.files import read_json
from quantize_lib.harness.travel import copy_task
from quantize_lib.job.job_file import JobFile, JobTask, JobText, write_job

JOB_FOLDER = "/job"
OUTPUT_FOLDER = "/output"
MODEL_FOLDER = "/model"
BUILDS_FOLDER = "/builds"
STATISTICS_FOLDER = "/statistics"
_TASKS = "tasks"
MAX_PROCESSES = 256 + 16 * (os.cpu_count() or 1)
"""Threads count too: PyTorch and GPTQModel have some for each core."""
_SCRATCH_BYTES = 2**30
_ROOTS_USER = 1000
"""The container of a run that belongs to root belongs to nobody special instead."""
_PASSED_ON = (
    "CUDA_VISIBLE_DEVICES",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "THP_MEM_ALLOC_ENABLE",
)
_FIXED = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A folder of the host in the container."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """One container.

    Attributes:
        name: unique.
        owner: `process_identity` of this process.
        user: uid and gid.
        memory: bytes, without swap.
        file_size: bytes of the largest single file that it may write; the kernel holds it to that.
        gpus: whether it gets all of them.
        command: words of the command line.
    """

    image: str
    name: str = field(default_factory=lambda: f"model-quantizer-{uuid.uuid4().hex[:12]}")
    owner: str = field(default_factory=lambda: process_identity(os.getpid()))
    user: tuple[int, int]
    binds: tuple[Bind, ...]
    memory: int
    file_size: int
    gpus: bool
    command: tuple[str, ...] = ("job", f"{JOB_FOLDER}/job.json", "--events")

    def options(self) -> dict[str, Any]:
        """For `docker.DockerClient.containers.create`."""
        from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

        return {
            "image": self.image,
            "name": self.name,
            "command": list(self.command),
            "labels": {OWNER_LABEL: self.owner},
            "user": "{}:{}".format(*self.user),
            "working_dir": "/tmp",
            "environment": container_environment(os.environ),
            "mounts": [
                Mount(bind.target, str(bind.source), type="bind", read_only=bind.read_only)
                for bind in self.binds
            ],
            # A model's own code may be compiled for a GPU, so files there can be executed.
            "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={_SCRATCH_BYTES}"},
            "network_mode": "none",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "ipc_mode": "private",
            "pids_limit": MAX_PROCESSES,
            "mem_limit": self.memory,
            "memswap_limit": self.memory,
            "ulimits": [
                Ulimit(name="core", soft=0, hard=0),
                Ulimit(name="fsize", soft=self.file_size, hard=self.file_size),
            ],
            # What it prints goes to us alone: the engine's own log of it would grow without bound.
            "log_config": LogConfig(type="none"),
            "device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])] if self.gpus else None,
        }


def binds_of(model: Bind | None, inside: Path, output: Path, *builds: Bind) -> tuple[Bind, ...]:
    """All that a container sees of the host.

    Args:
        model: None where it needs none.
        inside: what it reads beside the model, at `JOB_FOLDER`.
        output: what it writes to, at `OUTPUT_FOLDER`.
        builds: what else it reads: other builds of the base model, statistics.
    """
    return (
        *([] if model is None else [model]),
        *builds,
        Bind(source=inside, target=JOB_FOLDER),
        Bind(source=output, target=OUTPUT_FOLDER, read_only=False),
    )


def container_environment(host: Mapping[str, str]) -> dict[str, str]:
    """What a container is given: threads and devices; never a token."""
    return {**COMPUTE_DEFAULTS, **{name: host[name] for name in _PASSED_ON if name in host}, **_FIXED}


def container_user(output_dir: Path) -> tuple[int, int]:
    """Who the container runs as: this process's user, so that its files are ours; never root.

    Args:
        output_dir: the folder that the container writes to; it is given to that user.
    """
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    os.chown(output_dir, _ROOTS_USER, _ROOTS_USER)
    return _ROOTS_USER, _ROOTS_USER


def build_binds(job: JobFile) -> tuple[tuple[Bind, ...], list[str]]:
    """The binds of other builds of the base model, and their folders in the container."""
    found = [model_bind(build.path, f"{BUILDS_FOLDER}/{index}") for index, build in enumerate(job.builds)]
    return tuple(bind for bind, _ in found), [folder for _, folder in found]


def statistics_binds(job: JobFile) -> tuple[Bind, ...]:
    """The binds of the shards whose statistics are added."""
    return tuple(
        Bind(source=folder, target=f"{STATISTICS_FOLDER}/{index}")
        for index, folder in enumerate(job.statistics)
    )


def model_bind(folder: Path, target: str = MODEL_FOLDER) -> tuple[Bind, str]:
    """The bind of a base model or another build of it, and its folder in the container.

    Args:
        target: the container's folder that it lies in.

    A snapshot in the Hub's cache consists of links to `../../blobs`, so the whole repository's folder comes.
    """
    folder = folder.resolve()
    repository = folder.parent.parent
    if folder.parent.name == "snapshots" and (repository / "blobs").is_dir():
        return Bind(source=repository, target=target), f"{target}/snapshots/{folder.name}"
    target = f"{target}/{folder.name}"
    return Bind(source=folder, target=target), target


def check_readable(folder: Path, user: tuple[int, int]) -> None:
    """Check that the container's user can read the model, where that is another one than ours.

    Raises:
        EngineError: where it cannot, with the command that changes it.
    """
    if user[0] == os.getuid():
        return
    for path in (folder, *folder.iterdir()):
        status = path.stat()
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
        if status.st_mode & needed != needed and status.st_uid != user[0]:
            raise EngineError(
                f"{path} cannot be read by user {user[0]}, as which the container runs where root starts it",
                hint=f"Run: chmod -R a+rX {folder}, or use another user than root.",
            )


def write_container_job(job: JobFile, model: str, builds: Sequence[str], inside: Path) -> None:
    """Write the job as the container sees it, with its texts and tasks, into a folder that it can read.

    Args:
        job: with the host's paths.
        model: the base model's folder in the container.
        builds: the folders of other builds there, in their order.
    """
    inside.mkdir()

    def text(given: JobText | None, name: str) -> JobText | None:
        if given is None:
            return None
        given.texts.rename(inside / name)
        return replace(given, texts=Path(JOB_FOLDER, name))

    def task(given: JobTask, number: int) -> JobTask:
        spec = copy_task(given.spec, inside / _TASKS / str(number))
        assert spec.file is not None, "only tasks with files travel"
        return replace(given, spec=replace(spec, file=JOB_FOLDER / spec.file.relative_to(inside)))

    write_job(
        inside / "job.json",
        replace(
            job,
            model=replace(job.model, path=Path(model)),
            calibration=text(job.calibration, "calibration.json"),
            evaluation=text(job.evaluation, "evaluation.json"),
            texts={
                name: moved
                for name, given in job.texts.items()
                if (moved := text(given, f"text-{name}.json")) is not None
            },
            builds=tuple(
                replace(build, path=Path(folder)) for build, folder in zip(job.builds, builds, strict=True)
            ),
            output=Path(OUTPUT_FOLDER),
            statistics=tuple(Path(bind.target) for bind in statistics_binds(job)),
            tasks=tuple(task(given, number) for number, given in enumerate(job.tasks)),
        ),
    )
    let_read(inside)


def let_read(inside: Path) -> None:
    """Let the container's user, who may be another one, read a folder whatever this process's umask."""
    for path in (inside, *inside.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def state_limit(job: JobFile) -> int:
    """Bytes that a job may write to be gone on with: hidden states, the old and the new ones, in float32."""
    config = read_json(job.model.path / "config.json")
    hidden = int(config.get("hidden_size") or config.get("n_embd") or 0)

    def tokens(text: JobText | None) -> int:
        return 0 if text is None else text.samples * text.sequence_length

    return 2 * 4 * hidden * (tokens(job.calibration) + tokens(job.carried) * (1 + len(job.cells)))


def weight_limit(folder: Path, cells: int) -> int:
    """Bytes that a job may write: every checkpoint and the base model's figures, with room to spare.

    Pickled weights are copied into safetensors first; that copy fits in what is spare.
    """
    weights = sum(
        path.stat().st_size for kind in ("*.safetensors", "pytorch_model*.bin") for path in folder.glob(kind)
    )
    return 2 * weights * (cells + 1) + 2 * 2**30
