"""What reads and writes results starts without the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "numpy", "jinja2", "huggingface_hub", "datasets", "jsonschema")


def test_gate_card_publish_and_report_load_nothing_heavy() -> None:
    script = (
        "import sys, quantize_lib.gate, quantize_lib.card, quantize_lib.report;"
        "import quantize_lib.publish.directory.publisher;"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
