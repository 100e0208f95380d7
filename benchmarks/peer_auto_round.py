"""AutoRound's side of a comparison, run by the `python` of an environment that has it.

    python -m benchmarks.peer_auto_round --model DIR --ids FILE --folder DIR --iterations 50

It is no dependency of this project, and imports nothing of it. `FILE` holds the calibration's token ids, a
list of sequences in JSON. What is written is GPTQ's format; the last line printed is JSON of settings and
seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

LIGHT = 50
"""Iterations of its light setting, which has a rate of learning of its own."""


def main() -> None:
    """Quantize and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for word in ("model", "ids", "folder"):
        parser.add_argument(f"--{word}", type=Path, required=True)
    parser.add_argument(
        "--iterations", type=int, default=200, help="200 is its default, 50 its light setting"
    )
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=64)
    arguments = parser.parse_args()

    # After the arguments: `--help` is answered without them, too.
    import torch
    from auto_round import AutoRound, __version__
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = torch.tensor(json.loads(arguments.ids.read_text(encoding="utf-8")))
    settings = {
        "bits": arguments.bits,
        "group_size": arguments.group_size,
        "sym": True,
        "iters": arguments.iterations,
        "nsamples": len(rows),
        "seqlen": rows.shape[1],
        "batch_size": 8,
        # Its default is bfloat16, which takes longer on a CPU without units for it.
        "amp": torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported(),
        **({"lr": 5e-3} if arguments.iterations == LIGHT else {}),
    }
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    rounding = AutoRound(
        model,
        AutoTokenizer.from_pretrained(arguments.model),
        dataset=[{"input_ids": row.unsqueeze(0)} for row in rows],
        device_map="cpu",
        **settings,
    )
    started = time.perf_counter()
    rounding.quantize_and_save(str(arguments.folder), format="auto_gptq")
    print(json.dumps({**settings, "version": __version__, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
