"""`calibrate`: statistics of a part of the calibration text, for a run that adds up those of all parts."""

from __future__ import annotations

import argparse

from quantize_lib.cli.running import choose_executor
from quantize_lib.reporting import Reporter


def calibrate(options: argparse.Namespace, reporter: Reporter) -> int:
    """Make one shard of what a manifest's cells are calibrated with."""
    from quantize_lib.host.calibrate import CalibrateOptions
    from quantize_lib.host.calibrate import calibrate as make
    from quantize_lib.host.lookups import Lookups
    from quantize_lib.host.watch_plan import plan_with_found
    from quantize_lib.manifest import load_manifest
    from quantize_lib.plan import narrow
    from quantize_lib.plan.shards import calibration_of

    manifest = load_manifest(options.manifest)
    if manifest.watch:
        lookups = Lookups(reporter)
        plan, _ = plan_with_found(manifest, None, lookups, reporter, only=options.only, device=options.device)
    else:
        plan = narrow(manifest, only=options.only, device=options.device)
    execute, docker = choose_executor(options, calibration_of(plan), reporter)
    number, count = options.shard
    return make(
        plan,
        CalibrateOptions(
            number=number,
            count=count,
            output=options.output.absolute(),
            execute=execute,
            try_tokenizer=None if docker is None else docker.try_tokenizer,
            max_memory=options.max_memory,
        ),
        reporter,
    )
