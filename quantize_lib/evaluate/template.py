"""A process that has imported the libraries and computed nothing: those that load models are forked from it.

Each of those is a process of its own, as fresh as one that imports everything itself, and seconds
sooner at work. The template is forked before its parent computes, since threads do not come along: where
something would start them on import, or a GPU's driver, there is no template and every process begins anew.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from quantize_lib.environment import clean_environment, end_with_parent, run_module

_IMPORTED = (
    "transformers.activations",
    "transformers.generation.utils",
    "transformers.modeling_layers",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
)
"""What every process that loads a model imports, and this one too when it quantizes."""
_MAX_MESSAGE = 65536
_TOO_LONG = "timeout"
_current: Template | None = None


class Template:
    """The parent's end; safe to use from several threads.

    Args:
        control: a datagram socket to the process.
        process: its id.
    """

    def __init__(self, control: socket.socket, process: int) -> None:
        self._control = control
        self._process = process

    def run(self, module: str, question: Path, answer: Path, *, log: Path, timeout: float) -> int:
        """As `environment.run_module`.

        Raises:
            subprocess.TimeoutExpired: where it took longer.
            OSError: where there is no template any more.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                asked = {
                    "module": module,
                    "question": str(question),
                    "answer": str(answer),
                    "timeout": timeout,
                }
                message = json.dumps({**asked, "log": str(log)}).encode()
                socket.send_fds(self._control, [message], [theirs.fileno()])
            # Closing our end, whatever for, ends the process.
            said = ours.recv(_MAX_MESSAGE).decode()
        if said == _TOO_LONG:
            raise subprocess.TimeoutExpired([module], timeout)
        if not said:
            raise ConnectionError("the process that others are forked from is gone")
        return int(said)

    def close(self) -> None:
        """End the process; those that were forked from it have ended."""
        self._control.close()
        with suppress(ChildProcessError):
            os.waitpid(self._process, 0)


def start_module(module: str, question: Path, answer: Path, *, log: Path, timeout: float) -> int:
    """As `environment.run_module`, forked from the template where there is one."""
    if _current is not None:
        return _current.run(module, question, answer, log=log, timeout=timeout)
    return run_module(module, question, answer, log=log, timeout=timeout)


@contextmanager
def template() -> Iterator[None]:
    """Import the libraries and keep a template of this process, which has computed nothing yet."""
    global _current
    _current = _fork()
    try:
        yield
    finally:
        if _current is not None:
            _current.close()
            _current = None


def _fork() -> Template | None:
    """The template; None where there can be none."""
    # NumPy's OpenBLAS would start threads when it is imported, and nothing here computes with it.
    os.environ.update({**clean_environment(), "OPENBLAS_NUM_THREADS": "1"})
    import torch

    for name in _IMPORTED:
        importlib.import_module(name)
    if sys.platform != "linux" or torch.cuda.is_available() or _threads() > 1:
        return None
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if not process:
        ours.close()
        _serve(theirs)
    theirs.close()
    return Template(ours, process)


def _threads() -> int:
    """Threads of this process, those of libraries too."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _serve(control: socket.socket) -> NoReturn:
    """The template's own work: for each message one process that waits for another, which does the work."""
    code = 1
    try:
        end_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        # Nobody waits for those that wait.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, _MAX_MESSAGE, 1)
            if not message:
                code = 0
                break
            if os.fork() == 0:
                control.close()
                _attend(json.loads(message), socket.socket(fileno=descriptors[0]))
            os.close(descriptors[0])
    finally:
        os._exit(code)


def _attend(asked: dict[str, str], reply: socket.socket) -> NoReturn:
    """Fork the process that does the work, and say how it ended; end it where nobody waits any more."""
    try:
        end_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        worker = os.fork()
        if worker == 0:
            reply.close()
            _work(asked)
        ended = os.pidfd_open(worker)
        ready, _, _ = select.select([ended, reply.fileno()], [], [], float(asked["timeout"]))
        if ended not in ready:
            os.kill(worker, signal.SIGKILL)
        _, status = os.waitpid(worker, 0)
        said = _TOO_LONG if not ready else str(os.waitstatus_to_exitcode(status))
        with suppress(OSError):
            reply.send(said.encode())
    finally:
        os._exit(0)


def _work(asked: dict[str, str]) -> NoReturn:
    """Run the module as `python -m` would."""
    code = 1
    try:
        end_with_parent()
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for stream in (1, 2):
            os.dup2(log, stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import torch

        # After a fork PyTorch makes its pool anew at the first use, which two threads must not do at once.
        torch.set_num_threads(torch.get_num_threads())
        question, answer = asked["question"], asked["answer"]
        # A file named like a module, in the current folder, is not to be imported.
        os.chdir(Path(question).parent)
        code = importlib.import_module(asked["module"]).main([question, answer])
    except BaseException:  # noqa: BLE001 - whatever it was, the template's own code must not go on here
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
