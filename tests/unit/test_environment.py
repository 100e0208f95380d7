"""Child processes get what they need to compute and no token."""

from __future__ import annotations

import os

import pytest

from quantize_lib.environment import clean_environment
from quantize_lib.formats.loading import LoadRequest, plain_backend

SECRETS = (
    "HF_TOKEN",
    "HF_TOKEN_READ",
    "HF_TOKEN_WRITE",
    "HF_OIDC_ID_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "GITHUB_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "SOMETHING_NOBODY_THOUGHT_OF",
)


@pytest.mark.parametrize("name", SECRETS)
def test_no_token_and_nothing_unknown_is_passed_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hf_secret")
    assert "hf_secret" not in clean_environment().values()


def test_thread_counts_and_devices_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    environment = clean_environment()
    assert (environment["OMP_NUM_THREADS"], environment["CUDA_VISIBLE_DEVICES"]) == ("3", "1")


def test_the_hub_is_off_whatever_the_parent_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    environment = clean_environment()
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["HF_TOKEN_PATH"] == os.devnull


def test_gptqmodel_gets_two_workers_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPTQMODEL_CPU_WORKERS", raising=False)
    assert clean_environment()["GPTQMODEL_CPU_WORKERS"] == "2"
    monkeypatch.setenv("GPTQMODEL_CPU_WORKERS", "4")
    assert clean_environment()["GPTQMODEL_CPU_WORKERS"] == "4"


def test_waiting_threads_sleep_soon_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert clean_environment()["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    assert clean_environment()["GOMP_SPINCOUNT"] == "0"


def test_large_tensors_lie_in_large_pages_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    assert clean_environment()["THP_MEM_ALLOC_ENABLE"] == "1"
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    assert clean_environment()["THP_MEM_ALLOC_ENABLE"] == "0"


@pytest.mark.parametrize(
    ("device", "compiler", "kernel"),
    [("cuda", False, "a plain one"), ("cuda", True, None), ("cpu", False, None), ("mps", False, None)],
)
def test_on_cuda_without_a_compiler_the_kernel_that_needs_none_is_asked_for(
    device: str, compiler: bool, kernel: str | None
) -> None:
    request = LoadRequest(
        folder="model", dtype="auto", device=device, trust_remote_code=False, has_compiler=compiler
    )
    assert plain_backend(request, "a plain one") == kernel
