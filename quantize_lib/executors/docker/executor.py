"""The Docker executor: each job runs in a container of its own that holds no token and has no network.

The host downloads before and checks and publishes afterwards; it needs no torch.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.command.question import CommandAnswer
from quantize_lib.command.spec import CommandSpec
from quantize_lib.devices import DeviceName
from quantize_lib.errors import CheckpointError, EngineError, ExitCode, UsageError
from quantize_lib.executors.docker.command import run_in_container
from quantize_lib.executors.docker.container_output import (
    MAX_ANSWER_BYTES,
    OutputLimits,
    exceeded,
    give_back,
    take,
)
from quantize_lib.executors.docker.container_spec import (
    ContainerSpec,
    binds_of,
    build_binds,
    check_readable,
    container_user,
    model_bind,
    state_limit,
    statistics_binds,
    weight_limit,
    write_container_job,
)
from quantize_lib.executors.docker.container_stream import Listener
from quantize_lib.executors.docker.daemon import (
    check_image,
    connect,
    container_memory,
    default_image,
    engine_errors,
    has_gpus,
    host_memory,
    remove,
    remove_leftovers,
)
from quantize_lib.executors.docker.tokenizer import TRY_SECONDS, try_in_container
from quantize_lib.files import last_line, remove_tree, sha256_file, sha256_json, write_text
from quantize_lib.job.job_file import JobFile, read_job
from quantize_lib.job.layout import BROUGHT_BACK, CONTAINER_OUTPUT, ENDED_FILE, PASSES, RESULT_FILE
from quantize_lib.job.result import read_result
from quantize_lib.reporting import Reporter
from quantize_lib.text import format_bytes, printable
from quantize_lib.tokenizer.question import Answer, Question

if TYPE_CHECKING:
    from docker import DockerClient

_POLL_SECONDS = 0.5
_END_SECONDS = 20.0
"""How long the engine may take to say that a container ended once its output did."""
_KILLED = 137
_ENDED_FROM_OUTSIDE = (_KILLED, 143, ExitCode.INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class DockerOptions:
    """What the command line says of containers.

    Attributes:
        image: None for the release's own.
        memory: bytes; None for most of the machine's.
        timeout: seconds that one job may take.
    """

    image: str | None
    memory: int | None
    timeout: float


class DockerExecutor:
    """Runs jobs in containers. `open` makes one; then it is called as `host.run_options.Executor`."""

    def __init__(self, client: DockerClient, options: DockerOptions, *, memory: int, gpus: bool) -> None:
        self._client = client
        self._options = options
        self._memory = memory
        self._gpus = gpus
        self._pinned: dict[str, str] = {}
        """Images with their digests, by name."""

    @classmethod
    def open(
        cls, options: DockerOptions, devices: Collection[DeviceName], reporter: Reporter
    ) -> DockerExecutor:
        """Find engine and images before anything is downloaded, and remove what crashed runs left.

        Args:
            devices: those of the jobs.

        Raises:
            UsageError: where no engine answers, or it lacks an image or the GPUs.
        """
        if "mps" in devices:
            raise UsageError(
                "device mps: a container has no access to it", hint="Use --executor local, or device cpu."
            )
        client = connect()
        gpus = has_gpus(client)
        if "cuda" in devices and not gpus:
            raise UsageError(
                "device cuda: the Docker engine has no NVIDIA runtime",
                hint="Install the NVIDIA Container Toolkit, or use device cpu.",
            )
        memory = options.memory or container_memory(host_memory(client))
        executor = cls(client, options, memory=memory, gpus=gpus)
        for image in sorted({executor._image(device) for device in devices}):
            executor._pinned[image] = check_image(client, image)
        for name in remove_leftovers(client):
            reporter.info(f"removed the container {name} of a run that is gone")
        return executor

    def __call__(self, job_file: Path, *, log: Path, reporter: Reporter) -> None:
        """Run one job; its result and its cells' folders lie beside the job file afterwards.

        Raises:
            EngineError: where the container failed, took too long or too much, or the engine went away.
            CheckpointError: where it left something else than results.
        """
        job = read_job(job_file)
        folder = job_file.parent
        output_dir = folder / CONTAINER_OUTPUT
        given = digest_of(job_file, job)
        ended = folder / ENDED_FILE
        if not ended.exists() or ended.read_text(encoding="utf-8") != given:
            self._make(job, output_dir, log, reporter)
            write_text(ended, given)
        take(output_dir, job.leaves, folder)

    def pinned_image(self, device: DeviceName) -> str:
        """The image of a job on this device, with its digest."""
        return self._pinned[self._image(device)]

    def try_tokenizer(self, question: Question, device: DeviceName, reporter: Reporter) -> Answer | None:
        """Try a tokenizer with the libraries of the image.

        Args:
            device: of the job, which chooses the image.

        Returns, raises:
            As `try_in_container`.
        """

        def run(spec: ContainerSpec, output_dir: Path, log: Path) -> Mapping[str, Any]:
            log.touch()
            limits = OutputLimits(size=2 * MAX_ANSWER_BYTES, free=0)
            seconds = min(self._options.timeout, TRY_SECONDS)
            return self._run(spec, limits, output_dir, log, reporter, seconds)

        return try_in_container(question, self._image(device), self._memory, run)

    def run_command(
        self,
        spec: CommandSpec,
        checkpoint: Path | None,
        *,
        device: DeviceName,
        work: Path,
        log: Path,
        reporter: Reporter,
    ) -> CommandAnswer:
        """Run a test command on a checkpoint; as `host.command_runs.RunCommand`."""

        def run(
            container: ContainerSpec, limits: OutputLimits, output_dir: Path, seconds: float
        ) -> Mapping[str, Any]:
            log.touch()
            return self._run(container, limits, output_dir, log, reporter, seconds)

        return run_in_container(
            spec,
            checkpoint,
            image=self._image(device),
            memory=self._memory,
            gpus=self._on_gpu(device),
            work=work,
            run=run,
        )

    def _make(self, job: JobFile, output_dir: Path, log: Path, reporter: Reporter) -> None:
        """Run the job in a container, from where an earlier one was killed."""
        folder = output_dir.parent
        # What is there already is an earlier container's: it goes on from there, and can harm only itself.
        output_dir.mkdir(mode=0o700, exist_ok=True)
        bind, model = model_bind(job.model.path)
        builds, build_folders = build_binds(job)
        user = container_user(output_dir)
        give_back(job.leaves, folder, output_dir, user)
        give_back([PASSES, *job.leaves], folder / BROUGHT_BACK, output_dir, user)
        for readable in (job.model.path, *(build.path for build in job.builds), *job.statistics):
            check_readable(readable, user)
        on_gpu = self._on_gpu(job.device)
        # Rather slower than ended by the kernel at its limit.
        bounded = job if on_gpu else replace(job, max_memory=self._memory)
        write_container_job(bounded, model, build_folders, folder / "container-job")
        size = weight_limit(job.model.path, len(job.cells)) + state_limit(job)
        if job.shard is not None:
            size += 2 * job.shard.size
        spec = ContainerSpec(
            image=self._image(job.device),
            user=user,
            binds=binds_of(bind, folder / "container-job", output_dir, *builds, *statistics_binds(job)),
            memory=self._memory,
            file_size=size,
            gpus=on_gpu,
        )
        reporter.info(f"{job.id} runs in {spec.image} as {spec.name}")
        try:
            state = self._run(spec, OutputLimits(size=size), output_dir, log, reporter, self._options.timeout)
            self._judge(state, output_dir, log, reporter)
        except _UnusableError:
            # The next run begins without it.
            with suppress(OSError):
                remove_tree(output_dir)
            raise

    def _image(self, device: DeviceName) -> str:
        return self._options.image or default_image(gpu=self._on_gpu(device))

    def _on_gpu(self, device: DeviceName) -> bool:
        return self._gpus and device in ("cuda", "auto")

    def _run(
        self,
        spec: ContainerSpec,
        limits: OutputLimits,
        output_dir: Path,
        log: Path,
        reporter: Reporter,
        seconds: float,
    ) -> Mapping[str, Any]:
        """The container's last state. It is gone afterwards, whatever happened."""
        try:
            with engine_errors("start a container"):
                container = self._client.containers.create(**spec.options())
                # Before it starts, so that nothing is missed.
                stream = self._client.api.attach(
                    container.id, stdout=True, stderr=True, stream=True, demux=True
                )
                listener = Listener(stream, reporter, log)
                container.start()
            listener.start()
            _watch(listener, limits, output_dir, seconds)
            return self._last_state(spec.name, listener)
        finally:
            try:
                remove(self._client, spec.name)
            except EngineError as error:
                reporter.warning(
                    f"the container {spec.name} is left to the next run to remove: {error.message}"
                )

    def _last_state(self, name: str, listener: Listener) -> Mapping[str, Any]:
        doing = "say how the container ended"
        deadline = time.monotonic() + _END_SECONDS
        while True:
            with engine_errors(doing):
                state: dict[str, Any] = self._client.api.inspect_container(name)["State"]
            if not state["Running"]:
                return state
            if time.monotonic() > deadline:
                raise EngineError(f"the container's output broke off: {listener.lost or 'it closed it'}")
            time.sleep(_POLL_SECONDS)

    def _judge(self, state: Mapping[str, Any], output_dir: Path, log: Path, reporter: Reporter) -> None:
        code = state["ExitCode"]
        memory = format_bytes(self._memory)
        if code in (ExitCode.OK, ExitCode.CELL_FAILED):
            if state.get("OOMKilled"):
                # A child of the worker; the cell's own error says that it was killed.
                reporter.warning(f"the container reached its memory limit of {memory} (--memory)")
            return
        oom = bool(state.get("OOMKilled"))
        error = failure(code, oom=oom, memory=memory, output_dir=output_dir, log=log)
        if oom or code in _ENDED_FROM_OUTSIDE:
            raise error
        raise _UnusableError(error.message, hint=error.hint)


class _UnusableError(EngineError):
    """A container failed in such a way that another one had better not go on from what it left."""


def _watch(listener: Listener, limits: OutputLimits, output_dir: Path, seconds: float) -> None:
    """Wait until the container's output ends.

    Raises:
        EngineError: where it takes too long or too much.
    """
    deadline = time.monotonic() + seconds
    while listener.is_alive():
        listener.join(timeout=_POLL_SECONDS)
        if listener.flooded:
            raise _UnusableError("the container was stopped: it printed without end")
        if (reason := exceeded(output_dir, limits)) is not None:
            raise _UnusableError(f"the container was stopped: {reason}")
        if time.monotonic() > deadline:
            raise EngineError(
                f"the container was stopped: it took longer than {seconds:.0f} s",
                hint="Allow more with --timeout.",
            )


def digest_of(job_file: Path, job: JobFile) -> str:
    """Of a job file and its texts."""
    texts = [text.texts for text in job.all_texts]
    return sha256_json([sha256_file(path) for path in (job_file, *texts)])


def failure(code: int, *, oom: bool, memory: str, output_dir: Path, log: Path) -> EngineError:
    """What a container's exit code means, and what to do about it.

    Args:
        code: neither 0 nor 3.
        oom: whether the kernel ended a process at the memory limit.
        memory: the limit, for people.
        output_dir: its output.
        log: what it printed.
    """
    if oom:
        return EngineError(
            f"the job needs more memory than its limit of {memory}",
            hint="Raise --memory, take fewer or shorter calibration samples, or fewer cells a run (--only).",
        )
    if code == _KILLED:
        return EngineError(
            "the container was killed from outside (exit code 137)",
            hint="That is `docker kill`, or the machine's own memory that ran out: a lower --memory "
            "would end the job before that.",
        )
    if code in _ENDED_FROM_OUTSIDE:
        return EngineError(
            "the container was stopped from outside",
            hint="That is `docker stop`, or an engine that shut down; the same command goes on from there.",
        )
    return EngineError(
        f"the job failed in its container (exit code {code}): {_reason(output_dir, log)}",
        hint=f"What it printed is in {log}.",
    )


def _reason(output_dir: Path, log: Path) -> str:
    """The result's own reason, else the last line that was printed."""
    with suppress(CheckpointError, OSError):
        take(output_dir, (), output_dir.parent)
        failed = read_result(output_dir.parent / RESULT_FILE).first_failed()
        if failed is not None:
            return printable(failed.error)
    return last_line(log)
