"""Child processes that are forked off a process in which torch and transformers are imported already.

The command starts several Python processes a model, and each takes seconds to import what it computes with.
"""

from __future__ import annotations

import importlib
import io
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from quantize_lib import environment
from quantize_lib.executors import local
from quantize_lib.files import read_json

_COLD = frozenset({"quantize_lib.tokenizer.probe"})
"""Modules that see to it that nothing of torch is imported."""
handed_over: list[str] = []
"""The ids of the cells that quantizing processes were started for."""


def warm_up() -> None:
    """Import what the command's processes and the judge need, and let them be forked from here.

    One thread: what OpenMP has started does not survive a fork. GPTQModel is not imported, because it
    changes transformers and starts threads.
    """
    os.environ.update(environment.clean_environment(), OMP_NUM_THREADS="1")
    for name in ("accelerate", "bitsandbytes", "compressed_tensors", "datasets", "gguf"):
        importlib.import_module(name)
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for module in (environment, local):
        module.__dict__["subprocess"] = _Subprocess()


def fork(work: Callable[[], int], *, output: int | None = None, errors: int | None = None) -> Process:
    """Do `work` in a child process, which ends with the exit code that it returns.

    Args:
        output, errors: file descriptors that become the child's standard output and error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_child(work, output, errors)
    return Process(pid)


class Process:
    """What a caller of `subprocess` sees of a child: enough of `Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        """End it, and with it its children, which end with their parent."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


def _be_child(work: Callable[[], int], output: int | None, errors: int | None) -> NoReturn:
    code = 1
    try:
        environment.end_with_parent()
        # After a fork PyTorch makes its pool anew at the first use, which two threads must not do at once.
        sys.modules["torch"].set_num_threads(1)
        for target, given in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, errors)):
            if given is not None:
                os.dup2(given, target)
        # What stood for them in the parent may be pytest's, or a terminal's.
        for name, number in (("stdout", 1), ("stderr", 2)):
            setattr(sys, name, io.TextIOWrapper(os.fdopen(number, "wb", closefd=False), write_through=True))
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        if (error := sys.exc_info()[1]) is not None:
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Subprocess:
    """Stands for the module `subprocess` where `python -m MODULE …` is started."""

    PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
    TimeoutExpired = subprocess.TimeoutExpired

    def Popen(  # noqa: N802 - its name there
        self,
        command: Sequence[str],
        *,
        stdout: Any,
        stderr: Any,
        env: Mapping[str, str],
        cwd: Path,
        encoding: str = "utf-8",
        errors: str = "strict",
        **_: object,
    ) -> Process:
        assert list(command[:2]) == [sys.executable, "-m"], command
        reader, writer = os.pipe() if stdout == self.PIPE else (None, stdout.fileno())

        def work() -> int:
            if reader is not None:
                os.close(reader)
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(env, OMP_NUM_THREADS="1")
            sys.argv = [*command[2:]]
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
            return 0

        if list(command[2:4]) == ["quantize_lib", "job"]:
            handed_over.extend(cell["id"] for cell in read_json(Path(command[4]))["cells"])
        process = fork(work, output=writer, errors=writer if stderr == self.STDOUT else stderr.fileno())
        if reader is not None:
            os.close(writer)
            process.stdout = os.fdopen(reader, encoding=encoding, errors=errors)
        return process

    def run(
        self, command: Sequence[str], *, timeout: float | None = None, check: bool, **how: Any
    ) -> subprocess.CompletedProcess[bytes]:
        if command[2] in _COLD:
            return subprocess.run(command, timeout=timeout, check=check, **how)
        process = self.Popen(command, **how)
        try:
            return subprocess.CompletedProcess(command, process.wait(timeout))
        except subprocess.TimeoutExpired:
            process.kill()
            raise
