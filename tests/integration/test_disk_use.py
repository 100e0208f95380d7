"""A run's folder never holds more than the finished checkpoints, the saved activations and one block."""

from __future__ import annotations

from pathlib import Path

from tests.support.families import HIDDEN
from tests.support.resuming import BLOCKS, deepen, running, said
from tests.support.small_runs import SEQUENCE, evaluation, manifest, save_tiny_model

CELLS = [{"method": "gptq", "bits": 4}, {"method": "bitsandbytes", "bits": 4}]
SAMPLES, HELD_OUT = 8, 4


def size(folder: Path) -> int:
    """Bytes of a folder that is at work: what goes while we look is gone."""
    total = 0
    for file in folder.glob("**/*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def test_a_run_holds_its_checkpoints_and_its_activations_twice_at_most(
    tmp_path: Path, calibration_text: Path
) -> None:
    model = deepen(save_tiny_model(tmp_path / "tiny", calibration_text))
    output = tmp_path / "out"
    path = manifest(tmp_path, model, calibration_text, CELLS, evaluate=evaluation(calibration_text))
    most = 0
    with running("run", path, "--output", output, "--no-publish", cwd=tmp_path) as run:
        while run.poll() is None:
            try:
                most = max(most, size(output))
            except FileNotFoundError:
                # A folder went while it was listed.
                continue
    assert run.returncode == 0, said(tmp_path)
    finished = size(output)
    # The calibration, held-out text on its ways, and by which one cell makes up for errors, on two.
    tokens = SEQUENCE * (SAMPLES + HELD_OUT * (1 + len(CELLS)) + 2 * SAMPLES)
    activations = tokens * HIDDEN * 4
    # Texts, logits of the sample, job files and the log; less than the checkpoints once more would take.
    rest = 400_000
    assert rest < min(finished, BLOCKS * activations) / 2
    assert finished < most < finished + 2 * activations + rest
