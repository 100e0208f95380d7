"""Records for tests: one with everything, and ways to get others from it."""

from __future__ import annotations

from quantize_lib.job.records import Reload, TextRecord
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
    sample_perplexity=36.01,
    sample_perplexity_pass=36.0,
    sample_kl_divergence=0.11,
    sample_kl_divergence_pass=0.11,
    reproduced=True,
    dtype="float32",
)
MEASURED = Measurements(
    size_before=269_060_552,
    size_after=118_000_000,
    seconds=75.2,
    peak_memory_bytes=1_234_567_890,
    perplexity_before=32.37,
    perplexity_after=36.05,
    kl_divergence=0.1123,
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
