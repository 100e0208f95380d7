"""A run is killed and its disk is gone: the next one goes on from the state store, to the same bytes.

What every store keeps to is in tests/contract/test_state_stores.py; here one is met by the whole command.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from tests.support.hub import Hub, serve
from tests.support.resuming import BLOCKS, contents, deepen, kill_all, running, said, wait_until
from tests.support.small_runs import command, environment, manifest, save_tiny_model

CELLS: list[dict[str, Any]] = [{"method": "gptq", "bits": 4}]
REPOSITORY, BRANCH = "acme/state", "state-tiny-auto"
TOKEN = "hf_" + "s" * 34


def plan(folder: Path, model: Path, text: Path, **more: Any) -> Path:
    """A manifest with enough work for a kill to come before the last block."""
    calibration = {"files": [str(text)], "samples": 96, "sequence_length": 64}
    return manifest(folder, model, text, CELLS, defaults={"calibration": calibration}, **more)


def test_another_machine_goes_on_where_a_killed_one_was_from_a_private_repository(
    calibration_text: Path, tmp_path: Path
) -> None:
    model = deepen(save_tiny_model(tmp_path / "tiny", calibration_text))
    (whole := tmp_path / "whole").mkdir()
    path = plan(whole, model, calibration_text)
    undisturbed = ("run", path, "--output", whole / "out", "--no-publish")
    output = tmp_path / "out"
    path = plan(tmp_path, model, calibration_text, state={"in": "hub", "repository": REPOSITORY})
    words = ("run", path, "--output", output, "--no-publish")
    # Beside each other: a machine has two cores.
    with running(*undisturbed, cwd=whole) as beside, serve(Hub()) as hub:
        hub.add_token(TOKEN, "acme")
        env = environment(**hub.environment(tmp_path / "home"), HF_TOKEN_STATE=TOKEN)

        def kept() -> bool:
            found = hub.repositories.get(f"models/{REPOSITORY}")
            branch = None if found is None else found.find(BRANCH)
            return branch is not None and "state.json" in branch.files

        with running(*words, cwd=tmp_path, env=env) as run:
            assert wait_until(kept, run), said(tmp_path)
            kill_all(run)
        assert hub.model(REPOSITORY).private
        shutil.rmtree(output)
        done = command(*words, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        assert f"of unfinished work back from {REPOSITORY} on the Hugging Face Hub" in done.stderr
        (block,) = re.findall(rf"continuing after block (\d+) of {BLOCKS}", done.stderr)
        assert 0 < int(block) < BLOCKS
        assert beside.wait(timeout=120) == 0, said(whole)
        assert contents(output) == contents(whole / "out")
        # What is done needs no state.
        assert not kept()
        assert not hub.model(REPOSITORY).objects
