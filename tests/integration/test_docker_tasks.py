"""Tasks and a test command in containers: without network and token, beside what they can only read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.containers import run, without_torch
from tests.support.small_runs import FASTEST, manifest, report, save_tiny_model

pytestmark = pytest.mark.docker

CHECK = """
import errno, json, os, pathlib, socket, sys
checkpoint, figures = map(pathlib.Path, sys.argv[1:])
assert os.getuid() != 0
assert not any("secret" in value for value in os.environ.values())
assert [name for _, name in socket.if_nameindex()] == ["lo"]
try:
    (checkpoint / "left.txt").write_text("")
except OSError as error:
    assert error.errno == errno.EROFS
    pathlib.Path("mine").write_text(pathlib.Path("data/rows.txt").read_text())
    figures.write_text(json.dumps({"files": len(os.listdir(checkpoint)), "rows": 3}))
print("seen in", checkpoint)
"""

TASK = """task: endings
dataset_path: json
dataset_kwargs: {data_files: {test: ../data/endings.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: !function utils.text
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def test_tasks_and_a_test_command_run_in_the_image_without_network_token_or_the_right_to_write(
    image: str, tmp_path: Path, calibration_text: Path
) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.txt").write_text("1\n2\n3\n")
    (tmp_path / "check.py").write_text(CHECK)
    test = {
        "command": ["python", "check.py", "{checkpoint}", "{figures}"],
        "files": ["check.py", "data"],
        "limits": {"rows": {"min": 3}},
    }
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "endings.yml").write_text(TASK)
    (tmp_path / "tasks" / "utils.py").write_text("def text(row): return 'The ' + row['word']\n")
    rows = [{"word": word, "choices": [" was", " is"], "answer": 0} for word in ("man", "war")]
    (tmp_path / "data" / "endings.jsonl").write_text("\n".join(map(json.dumps, rows)))
    evaluate = {"test_command": test, "tasks": [{"file": "tasks/endings.yml"}]}
    path = manifest(tmp_path, model, calibration_text, FASTEST, evaluate=evaluate)
    env = {**without_torch(tmp_path), "HF_TOKEN": "hf_secret"}
    code, said = run(tmp_path, "--no-publish", "--image", image, env=env)
    assert code == 0, said
    (cell,) = report(tmp_path / "out").values()
    assert cell["test_command"]["figures"]["rows"] == 3
    task = cell["tasks"]["endings"]
    assert (task["metric"], task["examples"]) == ("acc", 2)
    assert None not in (task["before"], task["after"])
    assert "seen in /model/" in (tmp_path / "out" / f"{cell['id']}.test.log").read_text()
    assert [path.name for path in (tmp_path / "out" / ".state").iterdir()] == ["lock"]

    document = yaml.safe_load(path.read_text())
    document["evaluate"]["test_command"]["command"] = ["no-such-program"]
    path.write_text(yaml.safe_dump(document))
    code, said = run(tmp_path, "--no-publish", "--image", image, env=env)
    assert code == 2, said
    assert "evaluate.test_command: it cannot be started: there is no program no-such-program" in said
