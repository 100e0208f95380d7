"""llm-compressor's side of a comparison, run by the `python` of an environment that has it.

    python -m benchmarks.peer_llm_compressor --model DIR --ids FILE --folder DIR

It is no dependency of this project, and imports nothing of it. Its recipe is AWQ's input scales, then GPTQ's
codes, 4 bits and symmetric. `FILE` holds the calibration's token ids, a list of sequences in JSON. What is
written is compressed-tensors' format; the last line printed is JSON of settings and seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    """Quantize and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for word in ("model", "ids", "folder"):
        parser.add_argument(f"--{word}", type=Path, required=True)
    parser.add_argument("--group-size", type=int, default=64)
    arguments = parser.parse_args()

    # After the arguments: `--help` is answered without them, too.
    import torch
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from datasets import Dataset
    from llmcompressor import __version__, oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.pipelines.cache import IntermediatesCache
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not torch.accelerator.is_available():
        # Its AWQ pins memory for an accelerator, whether there is one or not, and fails.
        IntermediatesCache.pin_memory = lambda *_: None
    rows = json.loads(arguments.ids.read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    weights = QuantizationArgs(num_bits=4, symmetric=True, strategy="group", group_size=arguments.group_size)
    gptq = GPTQModifier(
        config_groups={"linears": QuantizationScheme(targets=["Linear"], weights=weights)}, ignore=["lm_head"]
    )
    started = time.perf_counter()
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=Dataset.from_list([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows]),
        recipe=[AWQModifier(), gptq],
        max_seq_length=len(rows[0]),
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
    )
    model.save_pretrained(arguments.folder, save_compressed=True)
    seconds = time.perf_counter() - started
    settings = {
        "recipe": "AWQ, GPTQ",
        "bits": 4,
        "group_size": arguments.group_size,
        "sym": True,
        "dampening_frac": gptq.dampening_frac,
        "nsamples": len(rows),
        "seqlen": len(rows[0]),
    }
    print(json.dumps({**settings, "version": __version__, "seconds": seconds}))


if __name__ == "__main__":
    main()
