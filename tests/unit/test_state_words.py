"""What a manifest says of state that is wrong is told with its place and with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.manifest import InvalidManifestError, parse_manifest

MANIFEST = "version: 1\nmodels:\n  - id: acme/m\n    quantize: [{method: gptq, bits: 4}]\n"
FAULTS = [
    (
        "state: {in: hup}",
        "5:13: state.in: `hup` is not allowed here. Allowed: cache, directory, hub. Perhaps you meant `hub`?",
    ),
    ("state: {in: hub}", "5:13: state.in: needs `repository`, the private repository to keep state in."),
    (
        "state: {in: hub, repository: state}",
        "5:30: state.repository: a repository on the Hub is in a namespace; write `namespace/name`.",
    ),
    (
        "state: {in: hub, repository: a/../b}",
        "5:30: state.repository: not the id of a repository: use `name` or `namespace/name` of letters, "
        "digits, `-`, `_`, `.`, a letter or digit at each end.",
    ),
    ("state: {path: kept}", "5:15: state.path: `in: cache` has none; it is for `in: directory`."),
]


@pytest.mark.parametrize(("words", "message"), FAULTS, ids=[words for words, _ in FAULTS])
def test_a_mistake_in_state_is_told(words: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "quantize.yml"
    with pytest.raises(InvalidManifestError) as caught:
        parse_manifest(MANIFEST + words, path=path)
    assert str(caught.value) == f"{path}:{message}"


def test_a_path_is_relative_to_the_manifest(tmp_path: Path) -> None:
    plan = parse_manifest(
        f"{MANIFEST}state: {{in: directory, path: ../kept}}", path=tmp_path / "quantize.yml"
    )
    assert plan.state.options == {"path": tmp_path.parent / "kept"}
