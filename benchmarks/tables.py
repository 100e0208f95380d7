"""The generated part of docs/explanation/benchmarks.md, made of benchmarks/results.json and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.targets import (
    AWQ_FIGURES,
    HEAD,
    OURS,
    PEER,
    PEERS,
    SEVERAL,
    TUNED,
    Stages,
    further,
    gigabytes,
    increases,
    peer_seconds,
    peers,
    percent,
    targets,
    times,
)

BEGIN = "<!-- begin: written by python -m benchmarks.engine -->"
END = "<!-- end: written by python -m benchmarks.engine -->"
KINDS = {"held-out.jsonl": "news", "wiki.jsonl": "encyclopedia", TUNED: "film reviews"}


def put(document: str, results: dict[str, Any]) -> str:
    """A document with its generated part made anew.

    Raises:
        ValueError: where the document lacks the marks.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document has no part between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{render(results)}\n{END}{after}"


def render(results: dict[str, Any]) -> str:
    """Markdown of everything that was measured."""
    if not results["stages"]:
        return "Nothing was measured yet.\n"
    stages = {name: stage["result"] for name, stage in results["stages"].items()}
    parts = [*_run(results), "## Targets\n", _table(HEAD, targets(stages))]
    if "speed" in stages:
        parts += ["## Speed\n", *_speed(stages)]
    if "gptq4" in stages or "gptq3" in stages:
        compares = [stages[name] for name in ("gptq4", "gptq3") if name in stages]
        parts += ["## Accuracy\n", *_accuracy(compares)]
    if asked := [stages[name] for name in ("peers4", "peers3") if name in stages]:
        parts += ["## Beside AutoRound and llm-compressor\n", *_beside(asked)]
    if "awq" in stages:
        parts += ["## AWQ beside GPTQModel's\n", *_awq(stages["awq"])]
    if "memory" in stages:
        parts += ["## Memory\n", *_memory(stages["memory"])]
    if "startup" in stages:
        parts += ["## Start-up\n", *_startup(stages["startup"])]
    if "unchanged" in stages:
        parts += ["## A thousand unchanged cells\n", *_unchanged(stages["unchanged"])]
    if "gpu" in stages:
        parts += ["## On a GPU\n", *_gpu(stages["gpu"])]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column stands left, the others right."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {str(value).lower()}" for name, value in settings.items())


def _tokens(found: dict[str, Any]) -> str:
    samples, length = found["calibration"]
    return f"{samples} × {length} tokens"


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    units = {
        "AVX-512": "avx512",
        "AVX-512's bfloat16": "avx512_bfloat16",
        "AMX bfloat16 units": "amx_bfloat16",
    }
    # Results of before do not tell all of them.
    words = ", ".join(
        f"{'with' if machine[key] else 'without'} {unit}" for unit, key in units.items() if key in machine
    )
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    memory = gigabytes(machine["memory_bytes"])
    return f"{machine['processor']}, {machine['cores']} cores, {words}, {memory} of memory. {versions}."


def _run(results: dict[str, Any]) -> Iterator[str]:
    yield f"Measured on: {_machine(results)}\n"
    rows = [
        (
            f"`{name}`",
            stage["started"],
            f"{stage['seconds'] / 60:.1f}",
            f"{stage['load']:.1f}",
            f"`{stage['commit']}`",
        )
        for name, stage in results["stages"].items()
    ]
    yield _table(("stage", "started (UTC)", "minutes", "load before", "commit"), rows)
    yield "A load of 0 is a machine that does nothing else; a commit with a plus sign has changes on top.\n"


def _speed(stages: Stages) -> Iterator[str]:
    speed = stages["speed"]
    passes, limits = speed["passes"], speed["limit_seconds"]
    yield (
        f"{speed['blocks']} blocks, {speed['tokens'][0]} × {speed['tokens'][1]} tokens, {speed['threads']} "
        "threads, from the start of calibration to saved checkpoints; nothing is evaluated.\n"
    )
    rows = [
        [name, f"{found['seconds']:.1f}", *(times(found["seconds"] / limit) for limit in limits.values())]
        for name, found in passes.items()
    ]
    peer = peer_seconds(stages["gptq4"]) if "gptq4" in stages else {}
    for row, found in zip(rows, passes.values(), strict=True):
        row += [times(seconds / found["seconds"]) for seconds in peer.values()]
    faster = [f"{PEER} in {dtype} ÷ this" for dtype in peer]
    yield _table(["pass", "seconds", *(f"÷ {name} limit" for name in limits), *faster], rows)
    for dtype, seconds in peer.items():
        settings = _settings(peers(stages["gptq4"])[dtype]["settings"])
        yield f"{PEER}: {seconds:.1f} s for one GPTQ 4 checkpoint, its model already loaded ({settings}).\n"
    rates = ", ".join(
        f"{limits[name]:.1f} s at {rate} GFLOP/s in {name}" for name, rate in speed["gflops"].items()
    )
    yield (
        f"The arithmetic limit: {rates}. It is forward products, causal attention and one half of XᵀX, over "
        "the best rate of a matrix product of the model's own shapes in this run.\n"
    )
    rows = [
        [cell, f"{added:.1f}", f"{own:.1f}", *(percent(added / seconds) for seconds in peer.values())]
        for cell, added, own in further(speed)
    ]
    shares = [f"added ÷ {PEER}'s one in {dtype}" for dtype in peer]
    yield _table(["a second cell in the pass", "seconds added", "seconds of its own work", *shares], rows)
    yield (
        "Where the time of the thread that quantizes goes, in seconds. The calibration has a thread of its "
        "own, a block ahead, except where it is said to go in turn; waiting for it is part of the rest. "
        "Where a cell makes up for errors, its layers are rounded while its text goes through the block: all "
        "of that is under forward.\n"
    )
    phases = dict.fromkeys(phase for found in passes.values() for phase in found["phases"])
    if SEVERAL in phases:
        yield "Of several cells two work at a time, on threads of their own, but for what is in turn.\n"
    rows = [
        [phase, *(f"{found['phases'].get(phase, 0.0):.2f}" for found in passes.values())]
        for phase in sorted(phases, key=lambda phase: phase == "rest")
    ]
    yield _table(["phase", *passes], rows)


def _beside(compares: Sequence[dict[str, Any]]) -> Iterator[str]:
    first = compares[0]
    yield (
        "They take hours for a whole model on a CPU, so that each quantized the first "
        f"{first['blocks']} blocks, as did GPTQModel and ours, and is measured in the whole model, whose "
        "others stay in full precision. "
        f"Ours are of one pass for all rows of the same bits. Choices were made by the {KINDS[TUNED]}. "
        f"{_machine(first)}\n"
    )
    # What a few blocks add to the perplexity is too little for a ratio of it.
    yield from _accuracy(compares, ratios=False)
    for name, row in ((name, row) for compare in compares for name, row in compare["rows"].items()):
        if name.startswith(PEERS):
            yield f"{name}: {_settings(row['settings'])}.\n"


def _accuracy(compares: Sequence[dict[str, Any]], *, ratios: bool = True) -> Iterator[str]:
    first = compares[0]
    base, texts = first["rows"]["base"], first["texts"]
    described = ", ".join(
        f"{KINDS[text]} ({base[text]['tokens']} tokens, SHA-256 `{digest[:16]}…`)"
        for text, digest in texts.items()
    )
    yield (
        f"Calibrated with {_tokens(first)} of news, group size {first['group_size']}, the same token ids on "
        f"both sides; measured on {described}. KL is in nats per token.\n"
    )
    of_base = [[f"{base[text]['perplexity']:.2f}", *(["–"] if ratios else []), "–"] for text in texts]
    rows = [["base model", *(part for parts in of_base for part in parts)]]
    for compare in compares:
        bits = compare["bits"]
        own = (f"{OURS}, {bits} bits", f"{OURS}, AWQ, {bits} bits")
        ours = [name for name in compare["rows"] if name.startswith(own)]
        names = [*ours, *(name for name in compare["rows"] if name.startswith(PEERS))]
        if compare is first:
            names.append(f"{OURS}, 8 bits")
        for name in names:
            row = [f"**{name}**" if name.startswith(OURS) else name]
            for text in texts:
                figures = compare["rows"][name][text]
                row.append(f"{figures['perplexity']:.2f}")
                if ratios:
                    row.append(f"{increases(compare, name)[text]:.2f}" if name in ours else "–")
                row.append(_with_error(figures))
            rows.append(row)
    columns = (
        column
        for text in texts
        for column in (
            f"perplexity, {KINDS[text]}",
            *([f"increase ÷ {PEER}'s"] if ratios else []),
            f"KL, {KINDS[text]}",
        )
    )
    yield _table(["GPTQ", *columns], rows)


def _with_error(figures: dict[str, float]) -> str:
    """The divergence with its standard error over sequences; results of before have none."""
    error = figures.get("kl_divergence_error")
    return f"{figures['kl_divergence']:.4f}" + ("" if error is None else f" ± {error:.4f}")


def _awq(awq: dict[str, Any]) -> Iterator[str]:
    yield (
        f"The first {awq['blocks']} blocks with embedding, last norm and head, {_tokens(awq)} of news, group "
        f"size {awq['group_size']}, the same token ids on both sides. Output error: mean over held-out "
        "tokens of ‖Δ‖² / ‖h‖² after the last block.\n"
    )
    head = [
        "",
        *(f"{what}, {KINDS[text]}" for text in awq["texts"] for what in AWQ_FIGURES.values()),
        "seconds",
    ]
    rows = [
        [
            f"**{name}**" if name == OURS else name,
            *(f"{row[text][figure]:.5f}" for text in awq["texts"] for figure in AWQ_FIGURES),
            str(row.get("seconds", "–")),
        ]
        for name, row in awq["rows"].items()
    ]
    yield _table(head, rows)
    for name, row in awq["rows"].items():
        if name != OURS:
            yield f"{name}: {_settings(row['settings'])}.\n"


def _memory(memory: dict[str, Any]) -> Iterator[str]:
    growth, block = memory["growth_bytes"] / 1e6, memory["block_bytes"] / 1e6
    yield (
        "Peak resident memory of the quantizing process on random weights. From 4 to 32 blocks: "
        f"{growth:+.1f} MB; one block in float32 is {block:.1f} MB.\n"
    )
    rows = [
        [name, gigabytes(run["peak_bytes"]), gigabytes(run["estimate_bytes"])]
        for name, run in memory.get("runs", {}).items()
    ]
    if rows:
        yield _table(["", "measured", "`plan`"], rows)


def _seconds(commands: dict[str, Any], *more: str) -> str:
    rows = [
        [
            f"`{name}`",
            *(f"{found[key]:.2f}" for key in ("median", "fastest", "slowest")),
            *(str(found[key]) for key in more),
        ]
        for name, found in commands.items()
    ]
    return _table(["command", "seconds", "fastest", "slowest", *more], rows)


def _startup(startup: dict[str, Any]) -> Iterator[str]:
    yield f"Wall time of the whole process, median of {startup['runs']}; `plan` is the demo's.\n"
    yield _seconds(startup["commands"])


def _unchanged(unchanged: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{unchanged['cells']} cells of {unchanged['models']} models and one data set, all "
        "published unchanged on the tests' Hub on the loopback address, from the start of the process to its "
        f"end, median of {unchanged['runs']}.\n"
    )
    yield _seconds(unchanged["commands"], "requests")


def _gpu(gpu: dict[str, Any]) -> Iterator[str]:
    shape = gpu["shape"]
    yield (
        f"{gpu['ours']['device']}; {_machine(gpu)} Random weights: hidden {shape['hidden']}, MLP "
        f"{shape['mlp']}, {shape['blocks']} blocks; {_tokens(gpu)}, group size {gpu['group_size']}.\n"
    )
    rows = [
        [name, ", ".join(side["cells"]), f"{side['seconds']:.0f}", gigabytes(side["peak_bytes"])]
        for name, side in ((OURS, gpu["ours"]), (PEER, gpu["gptqmodel"]))
    ]
    yield _table(["", "checkpoints", "seconds", "peak memory"], rows)
