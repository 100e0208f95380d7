"""What the proof of the walk found is kept for a later process of the same job, and for no other."""

from __future__ import annotations

from pathlib import Path

import torch

from quantize_lib.engine.proof_file import ProofFile
from quantize_lib.engine.walk import Output, Route


def test_a_proof_is_read_as_it_was_written_and_takes_next_to_no_room(tmp_path: Path) -> None:
    tensor = torch.ones(2, 300, 700)
    route = Route({0: Output.of(tensor), 3: Output.of((tensor, None, [tensor[:, 0]]))}, (0, 1))
    kept = ProofFile(path=tmp_path / "proof.pt", key="k")
    kept.save(route, ("model.layers.0.cross",))
    assert kept.path.stat().st_size < 10_000
    found = kept.load()
    assert found is not None
    read, uncalled = found
    assert uncalled == ("model.layers.0.cross",)
    assert (read.left, read.last(9)) == ((0, 1), 3)
    first, nothing, (last,) = read.output(3).stand_in(torch.zeros(2, 300, 700))
    assert (first.shape, nothing, last.shape) == ((2, 300, 700), None, (2, 700))


def test_a_proof_of_another_job_or_a_damaged_one_is_none(tmp_path: Path) -> None:
    kept = ProofFile(path=tmp_path / "proof.pt", key="k")
    assert kept.load() is None
    kept.save(Route({0: Output.of(torch.ones(1))}), ())
    assert ProofFile(path=kept.path, key="another").load() is None
    kept.path.write_bytes(kept.path.read_bytes()[:100])
    assert kept.load() is None
