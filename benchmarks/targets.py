"""The project's targets, each beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from quantize_lib.methods.common import FAST

OURS, PEER = "Model Quantizer", "GPTQModel"
AUTO_ROUND = "AutoRound"
PEERS = (PEER, AUTO_ROUND, "llm-compressor")
"""The beginnings of their rows; most targets are set against the first."""
TUNED = "reviews.jsonl"
"""A text by which choices were made: it is shown beside the others, and no target counts it."""
SEVERAL = "several cells at a time"
"""The phase of a pass whose cells have threads of their own."""
HEAD = ("target", "limit", "measured", "met")
AWQ_FIGURES = {"relative_error": "output error", "kl_divergence": "KL"}
START_SECONDS = 0.4
UNCHANGED_SECONDS = 10.0
_LIMIT_FACTOR = 1.6
_FURTHER_SHARE = 0.15
_ESTIMATE_TOLERANCE = 0.15
_LIMIT_7B = 7 * 2**30

Stages = dict[str, Any]
"""The result of each stage that was measured."""
Target = tuple[str, str, Sequence[tuple[str, bool]]]
"""What, its limit, and each figure with whether it is within the limit."""


def times(value: float) -> str:
    """`3.10 ×`."""
    return f"{value:.2f} ×"


def percent(value: float) -> str:
    """`4.0 %` of 0.04."""
    return f"{value * 100:.1f} %"


def gigabytes(value: float) -> str:
    """`1.82 GB`."""
    return f"{value / 1e9:.2f} GB"


def targets(stages: Stages) -> list[tuple[str, str, str, str]]:
    """A row for each target that the measured stages say something of."""
    found: list[Target] = []
    if "speed" in stages:
        found += _limits(stages["speed"])
        if "gptq4" in stages:
            found += _shares(stages["speed"], peer_seconds(stages["gptq4"]))
    if "gptq4" in stages:
        found += _four_and_eight(stages["gptq4"])
    if "gptq3" in stages:
        worst = max(increases(stages["gptq3"]).values())
        found.append((f"GPTQ 3, {_INCREASE}, worst text", "below 1.00", [(f"{worst:.2f}", worst < 1)]))
    if "peers4" in stages:
        found += _four_bits_of_peers(stages["peers4"])
    if "peers3" in stages:
        found += _three_bits_of_peers(stages["peers3"])
    if "awq" in stages:
        found += _awq(stages["awq"])
    if "memory" in stages:
        found += memory_targets(stages["memory"])
    if "startup" in stages:
        slowest = _slowest(stages["startup"])
        what = "start of `--help`, `validate`, `plan`, the slowest"
        found.append((what, f"at most {START_SECONDS:g} s", [(f"{slowest:.2f} s", slowest <= START_SECONDS)]))
    if "unchanged" in stages:
        slowest = _slowest(stages["unchanged"])
        what = "a thousand unchanged cells, the slower command"
        limit = f"at most {UNCHANGED_SECONDS:g} s"
        found.append((what, limit, [(f"{slowest:.2f} s", slowest <= UNCHANGED_SECONDS)]))
    if "gpu" in stages:
        ratio = stages["gpu"]["ours"]["seconds"] / stages["gpu"]["gptqmodel"]["seconds"]
        what = f"GPU: GPTQ 4 + 8 and AWQ 4 ÷ {PEER}'s time for GPTQ 4"
        found.append((what, "below 100 %", [(percent(ratio), ratio < 1)]))
    return [
        (
            what,
            limit,
            "; ".join(figure for figure, _ in figures),
            "; ".join("yes" if met else "**no**" for _, met in figures),
        )
        for what, limit, figures in found
    ]


def peers(compare: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """GPTQModel's rows of a comparison by what it computed in."""
    return {row["settings"]["dtype"]: row for name, row in compare["rows"].items() if name.startswith(PEER)}


def peer_seconds(compare: dict[str, Any]) -> dict[str, float]:
    """GPTQModel's time for one checkpoint, by what it computed in."""
    return {dtype: float(row["seconds"]) for dtype, row in peers(compare).items()}


def further(speed: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Each second cell: what it adds to the pass with the first alone, and its own work, in seconds.

    Part of its work is done while the next block is calibrated.
    """
    passes, found = speed["passes"], []
    alone = passes[f"one cell, {speed['arithmetic']}"]["seconds"]
    for name, both in passes.items():
        cell = name.removeprefix("with ").removesuffix(f", {speed['arithmetic']}")
        if name.startswith("with "):
            found.append((cell, both["seconds"] - alone, list(both["cells"].values())[1]))
    return found


def increases(compare: dict[str, Any], name: str | None = None) -> dict[str, float]:
    """Per text, our increase of perplexity over the base ÷ the smallest of GPTQModel's.

    Args:
        name: of our row; the one of the default effort where not given.
    """
    rows = compare["rows"]

    def increase(row: dict[str, Any], text: str) -> float:
        return float(row[text]["perplexity"] - rows["base"][text]["perplexity"])

    ours = rows[name or f"{OURS}, {compare['bits']} bits"]
    return {
        text: increase(ours, text) / min(increase(row, text) for row in peers(compare).values())
        for text in judged(compare)
    }


def judged(compare: dict[str, Any]) -> list[str]:
    """The texts of a comparison that nothing was chosen by."""
    return [text for text in compare["texts"] if text != TUNED]


_INCREASE = f"increase of perplexity ÷ {PEER}'s"


def _limits(speed: dict[str, Any]) -> Iterator[Target]:
    for arithmetic in dict.fromkeys((speed["arithmetic"], "float32")):
        own = speed["passes"][f"one cell, effort {FAST}, {arithmetic}"]["seconds"]
        ratio = own / speed["limit_seconds"][arithmetic]
        what = f"one GPTQ 4 cell, effort `{FAST}`, with products in {arithmetic} ÷ the {arithmetic} limit"
        yield what, f"at most {times(_LIMIT_FACTOR)}", [(times(ratio), ratio <= _LIMIT_FACTOR)]


def _shares(speed: dict[str, Any], peer: dict[str, float]) -> Iterator[Target]:
    one, six = (
        speed["passes"][f"{name}, {speed['arithmetic']}"]["seconds"] for name in ("one cell", "six cells")
    )
    settings = "; ".join(f"in {dtype}" for dtype in peer)

    ratios = [seconds / one for seconds in peer.values()]
    yield (
        f"one GPTQ 4 cell, faster than {PEER} {settings}",
        "at least 3.5 ×",
        [(times(ratio), ratio >= 3.5) for ratio in ratios],
    )
    shares = [six / seconds for seconds in peer.values()]
    yield (
        f"six cells ÷ {PEER}'s time for one {settings}",
        "below 50 %",
        [(percent(share), share < 0.5) for share in shares],
    )
    for cell, added, _ in further(speed):
        share = added / one
        what = f"a further cell, {cell} ÷ the pass with one"
        yield what, f"at most {percent(_FURTHER_SHARE)}", [(percent(share), share <= _FURTHER_SHARE)]


def _four_and_eight(compare: dict[str, Any]) -> Iterator[Target]:
    found = increases(compare).values()
    mean, worst = sum(found) / len(found), max(found)
    yield f"GPTQ 4, {_INCREASE}, mean of the texts", "at most 0.30", [(f"{mean:.2f}", mean <= 0.3)]
    yield f"GPTQ 4, {_INCREASE}, worst text", "at most 0.56", [(f"{worst:.2f}", worst <= 0.56)]
    base, eight = compare["rows"]["base"], compare["rows"][f"{OURS}, 8 bits"]
    distance = max(abs(eight[text]["perplexity"] / base[text]["perplexity"] - 1) for text in compare["texts"])
    what = "GPTQ 8, distance of perplexity from the base, worst text"
    yield what, "at most 0.5 %", [(f"{distance * 100:.2f} %", distance <= 0.005)]


def _divergence(compare: dict[str, Any], name: str) -> float:
    """Of one row, KL divergence, mean of the texts."""
    texts = judged(compare)
    return float(sum(compare["rows"][name][text]["kl_divergence"] for text in texts) / len(texts))


def _four_bits_of_peers(compare: dict[str, Any]) -> Iterator[Target]:
    default = f"{OURS}, 4 bits"
    standard, best = (_divergence(compare, name) for name in (default, f"{default}, effort best"))
    peer = _divergence(compare, f"{AUTO_ROUND}, 200 iterations, 4 bits")
    for effort, ratio in (("standard", standard / peer), ("best", best / peer)):
        what = f"GPTQ 4, effort `{effort}`, KL ÷ that of {AUTO_ROUND}'s default, mean of the texts"
        yield what, "below 1.00", [(f"{ratio:.2f}", ratio < 1)]
    ratio = best / standard
    yield "GPTQ 4, KL of effort `best` ÷ that of `standard`", "below 1.00", [(f"{ratio:.2f}", ratio < 1)]


def _three_bits_of_peers(compare: dict[str, Any]) -> Iterator[Target]:
    ours, light = (
        _divergence(compare, name) for name in (f"{OURS}, 3 bits", f"{AUTO_ROUND}, 50 iterations, 3 bits")
    )
    peer = min(_divergence(compare, name) for name in compare["rows"] if name.startswith(PEER))
    share = (peer - ours) / (peer - light)
    what = f"GPTQ 3, KL below {PEER}'s ÷ that of {AUTO_ROUND}'s light setting, mean of the texts"
    yield what, "at least 0.50", [(f"{share:.2f}", share >= 0.5)]


def _awq(awq: dict[str, Any]) -> Iterator[Target]:
    others = [row for name, row in awq["rows"].items() if name != OURS]
    for figure, name in AWQ_FIGURES.items():
        worst = max(
            awq["rows"][OURS][text][figure] / min(row[text][figure] for row in others)
            for text in awq["texts"]
        )
        what = f"AWQ 4, {name} ÷ the better of {PEER}'s, worst text"
        yield what, "at most 1.00", [(f"{worst:.2f}", worst <= 1)]


def memory_targets(memory: dict[str, Any]) -> Iterator[Target]:
    """What memory.py measured."""
    growth = abs(memory["growth_bytes"]) / memory["block_bytes"]
    yield "memory from 4 to 32 blocks, growth ÷ one block", "below 100 %", [(percent(growth), growth < 1)]
    for name, run in memory.get("runs", {}).items():
        ratio = run["estimate_bytes"] / run["peak_bytes"]
        what = f"memory, estimate ÷ measurement: {name}"
        yield what, "0.85 to 1.15", [(f"{ratio:.2f}", abs(ratio - 1) <= _ESTIMATE_TOLERANCE)]
        if name.startswith("7B"):
            peak = run["peak_bytes"]
            figure = f"{peak / 2**30:.2f} GiB"
            yield f"memory, peak: {name}", "below 7 GiB", [(figure, peak < _LIMIT_7B)]
    if "bounded" in memory:
        limit, peak = memory["bounded"]["limit_bytes"], memory["bounded"]["peak_bytes"]
        what = "memory, peak of the five cells with `--max-memory`"
        yield what, gigabytes(limit), [(gigabytes(peak), peak <= limit)]


def _slowest(found: dict[str, Any]) -> float:
    return max(float(command["median"]) for command in found["commands"].values())
