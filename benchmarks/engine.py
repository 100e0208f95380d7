"""Every benchmark of the engine in one run, written to docs/explanation/benchmarks.md.

    python -m benchmarks.engine                    # what `make benchmark` runs: an hour or two on 2 cores
    python -m benchmarks.engine --resume           # only what an interrupted run left
    python -m benchmarks.engine gptq4 speed        # only these stages
    python -m benchmarks.engine --trial            # all of them in small, printed alone: 5 minutes
    python -m benchmarks.engine peers4 peers3 --auto-round PYTHON --llm-compressor PYTHON

It needs the demo's model and texts (`make demo-data`), 8 GB of disk, and a machine that does nothing else.
After each stage its result goes to benchmarks/results.json, and the page is written from that file; stages
that were measured before stay where machine and versions are the same. Stages, in this order:

    startup    how long --help, validate and plan take
    unchanged  a thousand cells that are published unchanged
    gptq4      GPTQ with 4 and 8 bits beside GPTQModel's with 4: its time, everyone's accuracy
    speed      our time, by phases, beside the arithmetic limit
    gptq3      as gptq4, with 3 bits
    awq        AWQ beside GPTQModel's, the first three blocks
    memory     growth with depth, shapes of 1B and 7B
    peers4     every effort with 4 bits, and AWQ, beside GPTQModel, AutoRound and llm-compressor, the first 8
               blocks; takes hours, of which what others make is kept, and runs only where it is named
    peers3     the same with 3 bits, without AWQ and llm-compressor
    gpu        an 8B shape on CUDA beside GPTQModel; runs only where it is named
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, commit, versions
from benchmarks.tables import put, render
from benchmarks.targets import TUNED
from quantize_lib.benchmark.machine import machine
from quantize_lib.environment import clean_environment

DATA = ROOT / "examples" / "demo" / "work"
RESULTS = ROOT / "benchmarks" / "results.json"
DOCUMENT = ROOT / "docs" / "explanation" / "benchmarks.md"
PACKAGES = ("torch", "transformers", "gptqmodel", "bitsandbytes")
KEPT = DATA / "peers"
"""What quantizers with an environment of their own made."""
TEXTS = {
    "held-out.jsonl": "8b89025a7f4160283006762aa919f51ade1d05602cf6f5559eade744b321f579",
    "wiki.jsonl": "f53f79ab27ceaaea49f6c24d906181cbe87fcaaae6d1e0284eaa9952eed72c95",
}
"""What accuracy is measured on, fixed by hash: nothing was tuned on it."""

STAGES = {
    "startup": "startup.json",
    "unchanged": "unchanged.json",
    "gptq4": "compare.json",
    "speed": "speed.json",
    "gptq3": "compare.json",
    "awq": "compare-awq.json",
    "memory": "memory.json",
    "peers4": "compare.json",
    "peers3": "compare.json",
    "gpu": "gpu.json",
}
"""The file that each leaves in its folder."""
ASKED_FOR = ("peers4", "peers3", "gpu")
"""Stages that need more than this machine and an hour, and run only where they are named."""
PEER_BLOCKS = 8
SMALL_GPU = {
    "device": "cpu",
    "blocks": 2,
    "hidden": 256,
    "mlp": 512,
    "heads": 4,
    "key-value-heads": 2,
    "vocabulary": 1000,
    "samples": 8,
    "sequence-length": 128,
}


def main() -> int:
    """Run the stages and write what they found."""
    arguments = _arguments()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    names = [name for name in STAGES if name in (arguments.stage or set(STAGES) - set(ASKED_FOR))]
    others = {
        word: python
        for word in ("gptqmodel", "auto-round", "llm-compressor")
        if (python := getattr(arguments, word.replace("-", "_")))
    }
    bench = _Bench(work, names, others, trial=arguments.trial)
    for name in names:
        done = bench.results["stages"].get(name)
        if arguments.resume and done and done["commit"] == commit():
            print(f"{name}: measured {done['started']}", file=sys.stderr)
        else:
            bench.run(name)
    print(render(bench.results))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # argparse holds an empty list of positional words against the choices, too.
    parser.add_argument(
        "stage", nargs="*", type=_stage, metavar="STAGE", help=f"default: all but {', '.join(ASKED_FOR)}"
    )
    parser.add_argument("--resume", action="store_true", help="skip what this commit has measured here")
    parser.add_argument(
        "--trial", action="store_true", help="two blocks and few tokens; results and docs stay as they are"
    )
    parser.add_argument(
        "--work", type=Path, default=DATA / "benchmark", help="default: examples/demo/work/benchmark"
    )
    for word, what in (
        ("gptqmodel", "another GPTQModel and all else that this one has"),
        ("auto-round", "AutoRound, for the stages of peers"),
        ("llm-compressor", "llm-compressor, for the stages of peers"),
    ):
        parser.add_argument(f"--{word}", type=Path, metavar="PYTHON", help=f"of an environment with {what}")
    arguments = parser.parse_args()
    if any(name.startswith("peers") for name in arguments.stage) and not arguments.auto_round:
        # Its rows are what the targets are set against, and the rest takes long.
        parser.error("the stages of peers need --auto-round PYTHON")
    return arguments


def _alike(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two results are of one kind of machine; what the kernel keeps of the memory varies a little."""
    old, new = before["machine"], now["machine"]
    memory = abs(old["memory_bytes"] / new["memory_bytes"] - 1) < 0.01
    # Results of before do not tell everything.
    return memory and all(new.get(key) == value for key, value in old.items() if key != "memory_bytes")


def _stage(name: str) -> str:
    if name not in STAGES:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(STAGES)}")
    return name


class _Bench:
    """The stages' commands, and what they have found so far.

    Args:
        others: the Python of other quantizers' environments, by their option.
    """

    def __init__(self, work: Path, names: list[str], others: Mapping[str, Path], *, trial: bool) -> None:
        self._work, self._others, self._trial = work, others, trial
        self._file = work / "results.json" if trial else RESULTS
        self.results: dict[str, Any] = {
            "version": 1,
            "machine": machine(),
            "versions": versions(PACKAGES),
            "stages": {},
        }
        if self._file.exists():
            before = json.loads(self._file.read_text(encoding="utf-8"))
            # Those that are asked for say themselves where they were measured; the others share one machine.
            same = before["versions"] == self.results["versions"] and _alike(before, self.results)
            stages = before["stages"]
            if same:
                self.results["stages"] = stages
            elif stages and set(names) <= set(ASKED_FOR):
                self.results = before
            else:
                self.results["stages"] = {name: one for name, one in stages.items() if name in ASKED_FOR}

    def run(self, name: str) -> None:
        """One stage, from its command to the document.

        Raises:
            SystemExit: where it fails.
        """
        folder = self._work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        file = folder / STAGES[name]
        command = [sys.executable, "-m", *self._command(name, folder, file)]
        print(f"\n{name}: {' '.join(command)}", file=sys.stderr, flush=True)
        found: dict[str, Any] = {
            "started": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            "load": round(os.getloadavg()[0], 2),
            "commit": commit(),
        }
        start = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if name == "speed":
            # What it runs in this process, the tool runs in one of its children.
            environment.update(clean_environment())
        # Standard output carries only the document's part.
        ended = subprocess.run(command, env=environment, cwd=folder, stdout=sys.stderr)
        # 1 also says that a target was missed.
        if ended.returncode not in (0, 1) or not file.exists():
            raise SystemExit(f"{name} failed with exit code {ended.returncode}")
        found["seconds"] = round(time.perf_counter() - start, 1)
        found["result"] = json.loads(file.read_text(encoding="utf-8"))
        stages = {**self.results["stages"], name: found}
        self.results["stages"] = {stage: stages[stage] for stage in STAGES if stage in stages}
        self._file.write_text(json.dumps(self.results, indent=2) + "\n", encoding="utf-8")
        if not self._trial:
            document = DOCUMENT.read_text(encoding="utf-8")
            DOCUMENT.write_text(put(document, self.results), encoding="utf-8")

    def _command(self, name: str, folder: Path, file: Path) -> list[str]:
        if name in ("startup", "unchanged"):
            return [f"benchmarks.{name}", "--json", str(file)]
        if name == "memory":
            return ["benchmarks.memory", "--json", str(file), *(["--depth"] if self._trial else [])]
        if name == "gpu":
            small = [f"--{word}={value}" for word, value in SMALL_GPU.items()] if self._trial else []
            return ["benchmarks.gpu", "--work", str(folder), *small]
        data = ["--calibration", str(DATA / "calibration.jsonl"), "--work", str(folder)]
        if self._trial:
            data += ["--samples", "4"]
        if name == "speed":
            small = ["--blocks", "2"] if self._trial else []
            return ["benchmarks.speed", "--model", str(DATA / "model"), *data, *small]
        texts = self._texts()
        if name.startswith("peers"):
            texts.append(DATA / TUNED)
        data += ["--held-out", *map(str, texts)]
        if self._trial:
            data += ["--evaluate-samples", "2"]
        if name == "awq":
            small = ["--blocks", "1"] if self._trial else []
            return ["benchmarks.compare_awq", "--model", str(DATA / "model"), *data, *small]
        model = self._small_model() if self._trial else DATA / "model"
        bits = name[-1]
        dtypes = ["float32"]
        machine = self.results["machine"]
        if name == "gptq4" and (machine["amx_bfloat16"] or machine["avx512_bfloat16"]):
            # There it is GPTQModel's faster way; on other CPUs it takes several times as long.
            dtypes.append("bfloat16")
        others = ["gptqmodel"]
        if name.startswith("peers"):
            # llm-compressor's recipe is one of 4 bits.
            others += ["auto-round", *(["llm-compressor"] if bits == "4" else [])]
            data += ["--blocks", "1" if self._trial else str(PEER_BLOCKS)]
            if not self._trial:
                data += ["--kept", str(KEPT), "--evaluate-samples", "10"]
        return [
            "benchmarks.compare_gptqmodel",
            *("--model", str(model), *data, "--bits", bits, "--peer-dtype", *dtypes),
            *(part for word in others if (own := self._others.get(word)) for part in (f"--{word}", str(own))),
        ]

    def _texts(self) -> list[Path]:
        from quantize_lib.files import sha256_file

        files = [DATA / name for name in TEXTS]
        if not files[1].exists():
            subprocess.run(
                [sys.executable, "-m", "benchmarks.wiki_text", str(files[1])], check=True, cwd=ROOT
            )
        for file in files:
            if sha256_file(file) != TEXTS[file.name]:
                raise SystemExit(f"{file} is another text than the one that was fixed")
        return files

    def _small_model(self) -> Path:
        from benchmarks.checkpoints import first_blocks

        folder = self._work / "model"
        return folder if folder.exists() else first_blocks(DATA / "model", 2, folder)


if __name__ == "__main__":
    sys.exit(main())
