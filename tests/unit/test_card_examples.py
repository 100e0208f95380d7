"""The example cards of the documents: rendered from real figures, as the Hub takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from quantize_lib.manifest.schema import manifest_schema
from tests.support.documents import CARDS
from tests.support.hub.cards import front_matter
from tools.docs import cards

EXAMPLES = sorted(CARDS.glob("*.md"))


def test_there_are_three_and_they_are_what_the_recorded_figures_give() -> None:
    made = cards.files()
    assert sorted(made) == EXAMPLES
    assert len(EXAMPLES) == 3
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, "run python -m tools.docs"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_hub_says_nothing_against_them(path: Path) -> None:
    data, problems = front_matter(path.read_bytes())
    assert problems == []
    assert data["base_model_relation"] == "quantized"
    card: Any = ModelCard(path.read_text(encoding="utf-8"))
    assert card.data.to_dict()["license"] == "apache-2.0"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_their_manifest_is_valid_and_their_picture_is_there(path: Path) -> None:
    from jsonschema import Draft202012Validator

    text = path.read_text(encoding="utf-8")
    manifest = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert list(Draft202012Validator(manifest_schema()).iter_errors(manifest)) == []
    assert "](quality.png)" in text
    assert (CARDS / "quality.png").read_bytes().startswith(b"\x89PNG")
