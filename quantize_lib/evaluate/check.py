"""Reloads a checkpoint in a fresh process and judges whether the files say what the pass said."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize_lib.environment import clean_environment
from quantize_lib.errors import EvaluationError
from quantize_lib.files import finite, read_json, write_json
from quantize_lib.job.records import Reload

NEW_TOKENS = 20
"""Length of the greedy continuation."""
_TAIL_LINES = 8
_TAIL_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class PassFigures:
    """What the pass said of the sample: means per predicted token, in nats."""

    nll: float
    kl: float


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far the reload may be from the pass.

    Attributes:
        nll: absolute difference of the mean negative log-likelihoods, in nats: the relative difference of
            the perplexities.
        kl_absolute, kl_relative: a difference of the mean KL divergences up to the sum of
            `kl_absolute` and `kl_relative` times the pass's figure.
    """

    nll: float
    kl_absolute: float
    kl_relative: float


FLOAT32 = Tolerance(nll=2e-3, kl_absolute=1e-3, kl_relative=0.02)
"""float32 throughout, where only the order of sums differs. Measured on a 135M model: 1e-4 nats."""
HALF = Tolerance(nll=1e-2, kl_absolute=5e-3, kl_relative=0.05)
"""Rounding to 16 bits on the way: of every activation where a checkpoint is loaded in float16 or bfloat16, of
group scales and zeros (to bfloat16) in the 4-bit kernels that GPTQModel takes on a CPU in float32 too.
Measured: 4e-5 (GPTQ), 2e-3 (GPTQ with zero points), 9e-4 (AWQ), 7e-4 nats (NF4)."""
INT8_ACTIVATIONS = Tolerance(nll=2e-2, kl_absolute=1e-2, kl_relative=0.2)
"""LLM.int8 rounds activations to 8 bits too: an input's last bit can move a code by a whole step.
Measured: 8e-3 nats."""


def tolerance(dtype: str, quantization: Mapping[str, Any]) -> Tolerance:
    """The tolerance for a checkpoint that was loaded in `dtype`, by its `quantization_config`."""
    if quantization.get("load_in_8bit"):
        return INT8_ACTIVATIONS
    rounds_scales = quantization.get("quant_method") in ("gptq", "awq") and quantization.get("bits") == 4
    return FLOAT32 if dtype == "float32" and not rounds_scales else HALF


def is_reproduced(nll: float, kl: float | None, expected: PassFigures, allowed: Tolerance) -> bool:
    """Whether the reload's figures are the pass's; never where one is not finite."""
    if not all(map(math.isfinite, (nll, expected.nll, expected.kl))):
        return False
    if abs(nll - expected.nll) > allowed.nll:
        return False
    if kl is None:
        return True
    return abs(kl - expected.kl) <= allowed.kl_absolute + allowed.kl_relative * abs(expected.kl)


def check_reload(
    folder: Path,
    *,
    prompt: str,
    base_generated: str,
    sample: Path | None,
    base_logits: Path | None,
    expected: PassFigures | None,
    work: Path,
    device: str = "cpu",
    trust_remote_code: bool = False,
    timeout: float = 7200.0,
) -> Reload:
    """Load a checkpoint the way a user would, in a fresh process, and compare with the pass.

    Args:
        folder: the checkpoint.
        prompt: what is continued greedily by 20 tokens.
        base_generated: the base model's continuation (`generate_base`).
        sample: safetensors file with `ids`, int64 (sequences, length); None where nothing is evaluated.
        base_logits: safetensors file with the base model's `logits`, (sequences, length, vocabulary).
        expected: the pass's figures on the sample; without them nothing can be contradicted.
        work: an existing folder for temporary files and the log.
        device: where the checkpoint is loaded: `cpu`, `cuda` or `mps`.
        timeout: in seconds.

    Raises:
        EvaluationError: where the checkpoint does not load, does not generate, lacks tensors or gives logits
            that are not finite.
    """
    said = _run(
        folder,
        prompt,
        sample,
        base_logits,
        work=work,
        device=device,
        trust=trust_remote_code,
        timeout=timeout,
    )
    nll, kl = said["nll"], said["kl"]
    reproduced = True
    if expected is not None and nll is not None:
        reproduced = is_reproduced(nll, kl, expected, tolerance(said["dtype"], _quantization(folder)))
    return Reload(
        load_seconds=said["load_seconds"],
        peak_memory_bytes=said["peak_memory_bytes"],
        prompt=prompt,
        generated=said["generated"],
        base_generated=base_generated,
        sample_tokens=said["sample_tokens"],
        sample_perplexity=_perplexity(nll),
        sample_perplexity_pass=None if expected is None else _perplexity(expected.nll),
        sample_kl_divergence=kl,
        sample_kl_divergence_pass=None if expected is None else finite(expected.kl),
        reproduced=reproduced,
        dtype=said["dtype"],
    )


def generate_base(
    folder: Path,
    *,
    prompt: str,
    work: Path,
    device: str = "cpu",
    trust_remote_code: bool = False,
    timeout: float = 7200.0,
) -> str:
    """The base model's greedy continuation of `prompt`, made as `check_reload` makes the checkpoint's.

    Raises:
        EvaluationError: where the base model does not load or generate.
    """
    trust = trust_remote_code
    said = _run(folder, prompt, None, None, work=work, device=device, trust=trust, timeout=timeout)
    return str(said["generated"])


def _run(
    folder: Path,
    prompt: str,
    sample: Path | None,
    base_logits: Path | None,
    *,
    work: Path,
    device: str,
    trust: bool,
    timeout: float,
) -> dict[str, Any]:
    """The reload's result, from a process with a clean environment."""
    spec = {
        "folder": str(folder.resolve()),
        "prompt": prompt,
        "new_tokens": NEW_TOKENS,
        "sample": None if sample is None else str(sample.resolve()),
        "base_logits": None if base_logits is None else str(base_logits.resolve()),
        # Tight figures where the kernels take float32: GPTQModel's do on a CPU, and on CUDA they do not.
        "dtype": "float32" if device == "cpu" else "auto",
        "device": device,
        "trust_remote_code": trust,
    }
    log = work / f"{folder.name}.log"
    with tempfile.TemporaryDirectory(dir=work) as temporary:
        spec_file, result_file = Path(temporary) / "spec.json", Path(temporary) / "result.json"
        write_json(spec_file, spec)
        command = [sys.executable, "-m", "quantize_lib.evaluate.reload", str(spec_file), str(result_file)]
        with log.open("wb") as output:
            try:
                # Its own folder: a file named like a module, in the current one, is not to be imported.
                code = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=clean_environment(),
                    cwd=temporary,
                    timeout=timeout,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise EvaluationError(
                    f"{folder.name}: the reload took longer than {timeout:.0f} s",
                    hint=f"What it printed is in {log}.",
                ) from error
        if code != 0:
            raise EvaluationError(
                f"{folder.name} cannot be reloaded by transformers ({_ending(code)}):\n{_tail(log)}",
                hint=f"Everything it printed is in {log}.",
            )
        said: dict[str, Any] = read_json(result_file)
    if "error" in said:
        raise EvaluationError(f"{folder.name}: {said['error']}", hint=f"What was printed is in {log}.")
    return said


def _quantization(folder: Path) -> Mapping[str, Any]:
    """What config.json says of it; a base model says nothing."""
    config = read_json(folder / "config.json")
    found: Mapping[str, Any] = config.get("quantization_config") or {}
    return found


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"ended by signal {-code}"


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])[-_TAIL_CHARACTERS:]


def _perplexity(nll: float | None) -> float | None:
    # exp(700) is the last power of e that a float holds with certainty.
    return None if nll is None or not nll < 700 else math.exp(nll)
