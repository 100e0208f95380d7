from __future__ import annotations

from pathlib import Path

from quantize_lib.source import FAMILIES

DOC = Path(__file__).resolve().parents[2] / "docs" / "reference" / "models.md"


def test_the_table_of_families_is_the_one_in_the_code() -> None:
    table = (
        DOC.read_text(encoding="utf-8").partition("<!-- families -->\n")[2].partition("<!-- /families -->")[0]
    )
    rows = [
        f"| `{model_type}` | {', '.join(f'`{layer}`' for layer in family.layers)} |"
        for model_type, family in FAMILIES.items()
    ]
    assert table.strip().splitlines()[2:] == rows
