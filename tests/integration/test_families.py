"""Tiny models of every kind through the whole command, with every method, judged by plain transformers.

These are of every kind of structure; `make test-families` takes all types. A checkpoint is good where, loaded
in the class that its config names, it computes what the base does with the dequantized weights, and is nearer
to the base than weights rounded to nearest; see tests/families.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantize_lib.architecture.outcomes import RECORD
from quantize_lib.files import read_json

ROOT = Path(__file__).resolve().parents[2]
TYPES = (
    # Dense models: biases of some kind, tied heads, partial rotary embeddings, two norms around each part.
    *("llama-tied", "gemma2", "phi3"),
    # LayerNorms, layers for queries, keys and values together, Conv1D, linear layers of their own class.
    *("gpt2", "opt-350m", "falcon-new", "mpt"),
    # Mixtures: an expert a tensor, under other names on disk, with latent attention, in one tensor.
    *("qwen3_moe", "mixtral", "deepseek_v3", "gpt_oss", "granitemoe"),
    # Recurrences, convolutions, linear attention, and hybrids of them.
    *("mamba2", "jamba", "qwen3_next"),
    # The language part of vision-language models; inputs that depend on the tokens of a block.
    *("qwen2_5_vl", "llama4", "gemma4_text-ple"),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the sweep says of each type and cell: the result, or where it is good `ok`."""
    answer = tmp_path_factory.mktemp("families") / "outcomes.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.families", *TYPES, "--processes", "2", "--json", str(answer)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert answer.exists(), done.stderr
    outcomes: dict[str, dict[str, str]] = {}
    for one in read_json(answer):
        outcomes.setdefault(one["type"], {})[one["cell"]] = one["word"]
    return outcomes


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("name", TYPES)
def test_every_method_is_good_or_refused_as_the_record_says(
    name: str, found: dict[str, dict[str, str]]
) -> None:
    assert found[name] == read_json(RECORD)[name]


def test_the_record_knows_every_type_that_can_be_built() -> None:
    from tests.support.tiny_models import tiny_types

    assert list(read_json(RECORD)) == tiny_types()
