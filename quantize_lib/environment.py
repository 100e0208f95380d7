"""The environment of child processes: what they need to compute, and nothing that opens a door."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import quantize_lib

_PR_SET_PDEATHSIG = 1
"""`man 2 PR_SET_PDEATHSIG`."""
_NAMES = frozenset(
    (
        # Where programs, libraries and temporary files are, and the language.
        "HOME",
        "LANG",
        "LANGUAGE",
        "LC_ALL",
        "LC_CTYPE",
        "LD_LIBRARY_PATH",
        "PATH",
        "PYTHONPATH",
        "TEMP",
        "TERM",
        "TMP",
        "TMPDIR",
        "TZ",
        # Whose caches they are, in a container whose user has no passwd entry.
        "LOGNAME",
        "USER",
        # Where libraries keep what they make.
        "HF_HOME",
        "HF_MODULES_CACHE",
        "TRITON_CACHE_DIR",
        "XDG_CACHE_HOME",
        # How many threads, and where.
        "GOMP_CPU_AFFINITY",
        "GOMP_SPINCOUNT",
        "GPTQMODEL_CPU_WORKERS",
        "KMP_AFFINITY",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OMP_PLACES",
        "OMP_PROC_BIND",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        # Which devices.
        "CUDA_DEVICE_ORDER",
        "CUDA_HOME",
        "CUDA_PATH",
        "CUDA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "NVIDIA_VISIBLE_DEVICES",
        "PYTORCH_ALLOC_CONF",
        "PYTORCH_CUDA_ALLOC_CONF",
        "PYTORCH_ENABLE_MPS_FALLBACK",
        # How large the pages of memory are.
        "THP_MEM_ALLOC_ENABLE",
    )
)
"""Everything that is passed on; a list of what is allowed cannot forget a token that is invented later."""

_FIXED = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # `hf auth login` keeps its token in a file below HOME; the child is to find none there either.
    "HF_TOKEN_PATH": os.devnull,
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    # `-m` would import modules that happen to lie in the current folder, such as a user's torch.py.
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    # Tracebacks without lines of carets: the end of the log is quoted in errors.
    "PYTHONNODEBUGRANGES": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # GPTQModel compiles its kernel for 8-bit GPTQ on a CPU, which fails where there is no C++ compiler and
    # elsewhere takes longer than what little is computed here.
    "TORCHDYNAMO_DISABLE": "1",
}
COMPUTE_DEFAULTS = {
    # How long a thread of libgomp, which PyTorch computes with, spins before it sleeps: 0.1 ms instead of 3.
    # Spinning it takes a core from others, who may be what it waits for; without, waking it up after a small
    # operation takes longer than the operation (docs/explanation/benchmarks.md).
    "GOMP_SPINCOUNT": "10000",
    # Large tensors in large pages, which PyTorch asks the system for: it hands over 2 MiB at once instead of
    # 4 KiB, and operations on logits and hidden states take half the time.
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""For everything that computes."""
_DEFAULTS = {
    **COMPUTE_DEFAULTS,
    # GPTQModel 7.6.0 asks for two loader threads; on two cores its pool has but one without this.
    "GPTQMODEL_CPU_WORKERS": "2",
}


def clean_environment() -> dict[str, str]:
    """A new environment for a process that reads foreign models: no token, and the Hub's client is off.

    Paths, the locale, thread counts and device choices of this process are passed on, and this package can be
    imported there, installed or not.
    """
    environment = {**_DEFAULTS, **{name: os.environ[name] for name in _NAMES if name in os.environ}, **_FIXED}
    package_root = str(Path(quantize_lib.__file__).resolve().parent.parent)
    inherited = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([package_root, *([inherited] if inherited else [])])
    return environment


def command_environment() -> dict[str, str]:
    """A new environment for a program of the user's: as `clean_environment`, but it finds its own modules.

    The programs of the environment that this package is installed in come first: `python` is the one that has
    the libraries.
    """
    environment = clean_environment()
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        del environment[name]
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    places = [str(Path(sys.executable).parent), *([path] if (path := environment.get("PATH")) else [])]
    environment["PATH"] = os.pathsep.join(places)
    return environment


def server_environment(program: Path) -> dict[str, str]:
    """A new environment for a program of the user's that serves a model: as `command_environment`, but its
    own folder comes first, and PyTorch's compiler is on."""
    environment = command_environment()
    del environment["TORCHDYNAMO_DISABLE"]
    environment["PATH"] = os.pathsep.join([str(program.parent), environment["PATH"]])
    return environment


def run_module(module: str, question: Path, answer: Path, *, log: Path, timeout: float) -> int:
    """Run a module of this package on foreign files, in a fresh process with a clean environment.

    Args:
        question, answer: the module's arguments: what it reads, and what it writes; in a folder of its own.
        log: gets everything that it prints.
        timeout: in seconds.

    Returns:
        Its exit code; negative where a signal ended it.

    Raises:
        subprocess.TimeoutExpired: where it took longer.
    """
    with log.open("wb") as output:
        return subprocess.run(
            [sys.executable, "-m", module, str(question), str(answer)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
            # A file named like a module, in the current folder, is not to be imported.
            cwd=question.parent,
            timeout=timeout,
            check=False,
        ).returncode


def attach_module(module: str, question: Path, answer: Path) -> int:
    """As `run_module`, with this process's terminal: what is typed is the module's, Ctrl-C too.

    Returns:
        Its exit code; negative where a signal ended it.
    """
    # A handler that does nothing, and not "ignore", which the new process would inherit.
    previous = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        return subprocess.run(
            [sys.executable, "-m", module, str(question), str(answer)],
            env=clean_environment(),
            cwd=question.parent,
            check=False,
        ).returncode
    finally:
        signal.signal(signal.SIGINT, previous)


def ending(code: int) -> str:
    """How a process ended, from an exit code as `run_module` gives it, for a message."""
    return f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"


def end_with_parent() -> None:
    """Let the system end this process when the one that started it is gone, also where that was killed.

    Otherwise it would go on writing into a folder that the next run works in. On Linux; elsewhere it ends
    when it next says something that nobody reads.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
