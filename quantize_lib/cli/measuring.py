"""`benchmark` and `chat`: checkpoints as their users meet them."""

from __future__ import annotations

import argparse
import shlex
import sys

from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.reporting import Reporter


def benchmark(options: argparse.Namespace, reporter: Reporter) -> int:
    """Time checkpoints beside their base model; what was measured is written whatever happens."""
    from quantize_lib.benchmark.records import Protocol
    from quantize_lib.benchmark.run import Request, run_benchmark
    from quantize_lib.benchmark.table import benchmark_table
    from quantize_lib.benchmark.through import Ways

    if options.new_tokens < 2:
        raise UsageError(
            "--new-tokens is 1, and the speed is that of the tokens after the first", hint="Say 2 or more."
        )
    protocol = Protocol(
        prompt_lengths=tuple(sorted(set(options.prompt_lengths))),
        batch_sizes=tuple(sorted(set(options.batch_sizes))),
        new_tokens=options.new_tokens,
        rounds=options.rounds,
        repeats=options.repeats,
        seed=options.seed,
        device=options.device,
    )
    request = Request(
        paths=options.paths,
        base=options.base,
        prompts=options.prompts,
        prompt_count=options.num_prompts,
        protocol=protocol,
        output=options.output_dir,
        command=shlex.join(["model-quantizer", *sys.argv[1:]]),
        ways=Ways(names=options.through, programs=dict(options.server)),
    )
    results = run_benchmark(request, reporter).results
    print(benchmark_table(results))
    reporter.info(f"Everything that was measured is in {options.output_dir}")
    failed = any(result.status == "failed" for result in results)
    return ExitCode.CELL_FAILED if failed else ExitCode.OK


def chat(options: argparse.Namespace, reporter: Reporter) -> int:
    """Talk to a checkpoint; what is said of it goes to standard error by itself."""
    from quantize_lib.chat.start import ChatSettings
    from quantize_lib.chat.start import chat as talk

    del reporter
    return talk(
        options.path,
        ChatSettings(
            system=options.system,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            seed=options.seed,
            device=options.device,
        ),
    )
