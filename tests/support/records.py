"""Records for tests: one with everything, and ways to get others from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quantize_lib.job.records import Reload, SampleFigure, TextRecord
from quantize_lib.metrics import Figure
from quantize_lib.report.records import CellRecord, Measurements

TEXT = TextRecord(
    source="Salesforce/wikitext (wikitext-2-raw-v1, train)",
    dataset="Salesforce/wikitext",
    revision="b" * 40,
    samples=64,
    sequence_length=512,
    tokens=32768,
    tokens_digest="c" * 64,
)
RELOAD = Reload(
    load_seconds=1.25,
    peak_memory_bytes=645_054_464,
    prompt="The capital of France is",
    generated=" Paris.",
    base_generated=" Paris. It is",
    sample_tokens=1024,
    sample={
        "perplexity": SampleFigure(reloaded=36.01, of_pass=36.0),
        "kl_divergence": SampleFigure(reloaded=0.11, of_pass=0.11),
    },
    reproduced=True,
    dtype="float32",
)
MEASURED = Measurements(
    size_before=269_060_552,
    size_after=118_000_000,
    seconds=75.2,
    peak_memory_bytes=1_234_567_890,
    figures={
        "perplexity": Figure(before=32.37, after=36.05, standard_error=1.75),
        "kl_divergence": Figure(after=0.1123, standard_error=0.004),
    },
    evaluation=TEXT,
    reload=RELOAD,
)
RECORD = CellRecord(
    id="SmolLM2-135M-Instruct-gptq-4bit",
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    revision="a" * 40,
    method="gptq",
    bits=4,
    format="gptq",
    settings={"method": "gptq", "bits": 4, "group_size": 64, "desc_act": False, "sym": True},
    status="published",
    path="SmolLM2-135M-Instruct-gptq-4bit",
    repository="acme/SmolLM2-135M-Instruct-gptq-4bit",
    commit="d" * 40,
    fingerprint="e" * 64,
    calibration=TEXT,
    measurements=MEASURED,
    versions={"model-quantizer": "0.1.0", "transformers": "5.23.0", "gptqmodel": "7.6.0", "torch": "2.13.0"},
    files={"config.json": "f" * 64},
    notes=("model.layers.3: damping grew to 0.02",),
    limits={"max_kl_divergence": 0.2},
)


def with_figure(measured: Measurements, name: str, **changes: Any) -> Measurements:
    """The measurements with a figure changed (`before`, `after`, `standard_error`)."""
    figure = replace(measured.figures.get(name, Figure()), **changes)
    return replace(measured, figures={**measured.figures, name: figure})


def with_sample(reload: Reload, name: str, **changes: Any) -> Reload:
    """The reload with a figure on the sample changed (`reloaded`, `of_pass`)."""
    return replace(reload, sample={**reload.sample, name: replace(reload.sample[name], **changes)})
