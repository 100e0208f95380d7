"""Every example in the documents is of a known kind, and works: manifests, commands, Python, JSON, diagrams.

Workflows are checked with GitHub's schema and parser in tests/integration/test_workflows.py.
"""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib.cli.arguments import parse_arguments
from quantize_lib.manifest import parse_manifest
from quantize_lib.manifest.schema import manifest_schema
from tests.support.documents import ROOT, Example, examples

LANGUAGES = {"bash", "json", "markdown", "mermaid", "python", "text", "yaml"}
FOREIGN = {"cd", "export", "gh", "git", "hf", "llama-cli", "ollama", "pip"}
"""Programs of others, whose words are theirs."""


def kind_of(example: Example) -> str:
    """What YAML is: a manifest or keys of one, a workflow, its jobs or steps, a card's front matter."""
    document = yaml.safe_load(example.text)
    if isinstance(document, list):
        return "steps"
    if "version" in document:
        return "manifest"
    if "jobs" in document:
        return "workflow" if "name" in document else "jobs"
    if set(document) <= set(manifest_schema()["properties"]):
        return "keys"
    return "front matter" if set(document) == {"model_quantizer"} else "unknown"


YAML = [(example, kind_of(example)) for example in examples("yaml")]
COMMANDS = [
    (str(example), line)
    for example in examples("bash")
    for line in example.text.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


def test_every_block_is_in_a_language_that_is_checked() -> None:
    assert [str(example) for example in examples() if example.language not in LANGUAGES] == []


def test_every_block_of_yaml_is_of_a_known_kind() -> None:
    assert [str(example) for example, kind in YAML if kind == "unknown"] == []
    assert {kind for _, kind in YAML} >= {"manifest", "keys", "workflow", "jobs"}


@pytest.mark.parametrize(
    "example", [example for example, kind in YAML if kind in ("manifest", "keys")], ids=str
)
def test_a_manifest_is_valid(example: Example, tmp_path: Path) -> None:
    # What the manifests name beside themselves.
    (tmp_path / "models" / "mine").mkdir(parents=True)
    for name in (
        *("held-out.txt", "held-out-chats.jsonl", "chats.jsonl", "calibration/a.txt", "tasks/cities.yml"),
        *("tests/check.py", "tests/questions.jsonl"),
        *("news.txt", "code.txt", "german.txt"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    text = example.text
    if "version:" not in text:
        text = f"version: 1\nmodels: [{{id: acme/tiny, quantize: [{{method: gptq, bits: 4}}]}}]\n{text}"
    assert parse_manifest(text, path=tmp_path / "quantize.yml")


@pytest.mark.parametrize(("place", "line"), COMMANDS, ids=[f"{place} {line}" for place, line in COMMANDS])
def test_a_command_is_understood(place: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    program = words[0].removeprefix(".venv/bin/")
    match [program, *words[1:]]:
        case ["model-quantizer", *arguments] | ["python", "entrypoint.py", *arguments]:
            parse(arguments)
        case ["docker", "run", *rest]:
            image = next(number for number, word in enumerate(rest) if re.fullmatch(r"IMAGE(-\w+)?", word))
            parse(rest[image + 1 :])
        case ["docker", "build", *rest]:
            assert (ROOT / rest[rest.index("-f") + 1]).is_file(), place
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        case ["python", "-m", module, *_]:
            assert find_spec(module), place
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), place
        case ["pre-commit", "install"]:
            assert (ROOT / ".pre-commit-config.yaml").is_file()
        case _:
            assert program in FOREIGN, f"{place}: {program} is not a program that this test knows"


def parse(arguments: list[str]) -> None:
    """Fail where the command line does not take the words; it then ends the program."""
    try:
        parse_arguments(arguments)
    except SystemExit:
        pytest.fail(f"the command line refuses {arguments}")


@pytest.mark.parametrize("example", examples("python"), ids=str)
def test_python_compiles(example: Example) -> None:
    compile(example.text, str(example), "exec")


@pytest.mark.parametrize("example", examples("json"), ids=str)
def test_json_is_valid(example: Example) -> None:
    value: Any = json.loads(example.text)
    assert value


@pytest.mark.parametrize("example", examples("mermaid"), ids=str)
def test_a_diagram_has_a_known_kind_and_closes_what_it_opens(example: Example) -> None:
    lines = [line.strip() for line in example.text.splitlines()]
    assert re.fullmatch(r"flowchart (LR|TB|TD)", lines[0])
    assert lines.count("end") == sum(line.startswith("subgraph ") for line in lines)
    assert example.text.count('"') % 2 == 0
    # The way to the word that GitHub's Mermaid takes for the end of a subgraph.
    assert not re.search(r"\bend[\[({]", example.text)
