"""Blocks of GGUF files: the bytes of llama.cpp's own code, recorded from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from quantize_lib.errors import EngineError
from quantize_lib.gguf_file.blocks import from_blocks, to_blocks
from quantize_lib.gguf_file.types import tensor_bytes

RECORDED: Mapping[tuple[str, bool], str] = {
    ("Q8_0", False): "f929950616dff3d99cf8d248d3f1bfff",
    ("Q8_0", True): "f929950616dff3d99cf8d248d3f1bfff",
    ("Q4_0", False): "5dd886b802c4892d7e2e094eaed38bcc",
    ("Q4_0", True): "a1e0a6fbdf266e544a058a7262622e4e",
    ("Q4_1", False): "8da111b7177a387868e2210c88d32e99",
    ("Q4_1", True): "c97a69fa53255ede588adeef2c30de2b",
    ("Q5_0", False): "96f726e7598f7c03fb27c2c8c4cbd9de",
    ("Q5_0", True): "6e1991b6949f2a27242fcf667bd2cf99",
    ("Q5_1", False): "e878132a16075c6b433b70693b9dd98e",
    ("Q5_1", True): "c5c0a1570e838a9dd1de32e22ecb640b",
    ("IQ4_NL", False): "8317ade3f3130b811e439f9cdb6d17a2",
    ("IQ4_NL", True): "46f1c94673941301f59553ac67c4503b",
    ("Q2_K", False): "50f0726c624f4df126666b1c950e1626",
    ("Q2_K", True): "e6e61e7f0c4802bc96a0d767a0d4c532",
    ("Q3_K", False): "eb2379d12f7d7f7b1bed936fa3f76e81",
    ("Q3_K", True): "93f9905695d1687e6fbe5b9a2c453f80",
    ("IQ4_XS", False): "ae299105eadfaeccb5cda90495a96cff",
    ("IQ4_XS", True): "24f23e76c817e414d4806c61fb4961fb",
    ("Q4_K", False): "486e4f287252b09b8f4eb0933a503317",
    ("Q4_K", True): "91e00f0be4c6e21b92f7328056a42d8d",
    ("Q5_K", False): "aaa93959ae659a4bb15069eb67ebf0a4",
    ("Q5_K", True): "30b78d6dc4d5a52dfd6d001a355a2bd8",
    ("Q6_K", False): "08a3811767eff56a0ea8f9fdcb45979c",
    ("Q6_K", True): "d5bea7d71adba652cc068f89bcdc7a5d",
}
"""Type, and whether importance is known → the beginning of the sha256 of what ggml_quantize_chunk of
llama-cpp-python 0.3.36, compiled here, makes of `rows()`."""


def rows() -> Tensor:
    """Weights of all sizes, a block of zeros, tiny ones and one that stands out: exact on any machine."""
    numbers = np.arange(8 * 512, dtype=np.int64)
    values = ((numbers * 7919 + numbers * numbers * 31) % 65521) / 65521 - 0.5
    found = (values**3).astype(np.float32).reshape(8, 512)
    found[2, :64] = 0
    found[3] *= np.float32(2.0**-20)
    found[4, 100] = 3
    return torch.from_numpy(found)


def importance() -> Tensor:
    numbers = (((np.arange(512, dtype=np.int64) * 104729) % 4093 + 1) / 4093).astype(np.float32)
    return torch.from_numpy(numbers * numbers)


@pytest.mark.parametrize(("kind", "known"), RECORDED)
def test_blocks_are_the_bytes_that_llama_cpp_makes(kind: str, known: bool) -> None:
    made = to_blocks(rows(), kind, importance() if known else None)
    assert hashlib.sha256(made.numpy().tobytes()).hexdigest()[:32] == RECORDED[kind, known]
    assert made.numel() == tensor_bytes(kind, rows().shape)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in RECORDED}))
def test_blocks_read_back_to_weights_near_those_that_were_given(kind: str) -> None:
    read = from_blocks(to_blocks(rows(), kind, importance()), kind)
    assert read.shape == rows().shape
    assert float((read - rows()).norm() / rows().norm()) < {"Q2_K": 0.3, "Q3_K": 0.15}.get(kind, 0.1)


def test_blocks_do_not_depend_on_how_many_threads_make_them() -> None:
    wide = rows().repeat(600, 1)
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made.append(to_blocks(wide, "Q4_0", importance()))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*made)


def test_inputs_that_calibration_never_saw_do_not_break_a_block() -> None:
    unseen = importance()
    unseen[:256] = 0
    read = from_blocks(to_blocks(rows(), "Q4_K", unseen), "Q4_K")
    assert torch.isfinite(read).all()
    assert float((read - rows()).norm() / rows().norm()) < 0.2


def test_weights_that_are_not_finite_are_refused() -> None:
    broken = rows()
    broken[0, 0] = torch.nan
    with pytest.raises(EngineError, match="not finite"):
        to_blocks(broken, "Q8_0")
