"""A host without transformers has tokenizers tried in a container, before weights are downloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.containers import CELL, GOOD, finish, start, without_torch
from tests.support.hub import Hub, serve
from tests.support.model_files import LLAMA, write_model
from tests.support.small_runs import report

pytestmark = pytest.mark.docker

SAYS = """
import json, os, pathlib, sys
question = json.load(open("/job/question.json"))
assert sorted(os.listdir(question["folder"])) == ["config.json", "tokenizer.json"]
error = {"code": "source", "message": "the tokenizer is of no use", "hint": None}
answer = {"error": error, "notes": [], "chat_template": False, "texts": []}
pathlib.Path("/output/answer.json").write_text(json.dumps(answer))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub()) as server:
        server.add_token("hf_reader", "reader", "read")
        yield server


def manifest(folder: Path, *models: str) -> None:
    document = {
        "version": 1,
        "models": [{"id": model, "name": "one", "quantize": [CELL]} for model in models],
    }
    (folder / "quantize.yml").write_text(yaml.safe_dump(document), encoding="utf-8")


def test_what_the_container_says_of_a_hub_models_tokenizer_ends_the_job_before_the_download(
    hub: Hub, stub: Callable[[str], str], tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "m", {**LLAMA, "vocab_size": 40_000})
    hub.add_model("acme/large", {path.name: path.read_bytes() for path in folder.iterdir()})
    manifest(tmp_path, "acme/large")
    env = {
        **without_torch(tmp_path),
        **hub.environment(tmp_path / "home"),
        "HF_TOKEN_READ": "hf_reader",
    }
    code, said = finish(start(tmp_path, "--image", stub(SAYS), env=env))
    assert code == 3, said
    (cell,) = report(tmp_path / "out").values()
    assert cell["error"] == "acme/large: the tokenizer is of no use"
    # Its header alone.
    assert hub.sent("model.safetensors") < 500_000


NO_ANSWER = {
    "an older image": "print('no such word'); sys.exit(2)",
    "a link": "os.symlink('/etc/passwd', '/output/answer.json'); sys.exit()",
    "something else": "open('/output/answer.json', 'w').write('{}'); sys.exit()",
    "nothing": "sys.exit()",
}


@pytest.mark.parametrize("case", NO_ANSWER)
def test_where_the_container_gives_no_answer_the_job_goes_on(
    case: str, stub: Callable[[str], str], tmp_path: Path
) -> None:
    write_model(tmp_path / "one")
    manifest(tmp_path, "./one")
    code = f"import os, sys\nif '--answer' in sys.argv: {NO_ANSWER[case]}\n{GOOD}"
    ended, said = finish(start(tmp_path, "--image", stub(code), env=without_torch(tmp_path)))
    assert ended == 0, said
    assert "./one: the container did not try the tokenizer before the download" in said


def test_the_image_tries_it_with_its_own_libraries(image: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "one")
    (model / "tokenizer.json").unlink()
    (model / "vocab.json").write_text('{"a": 0, "b": 1}')
    manifest(tmp_path, "./one")
    code, said = finish(start(tmp_path, "--image", image, env=without_torch(tmp_path)))
    assert code == 3, said
    assert "./one: the tokenizer cannot be loaded: vocab.json has no merges.txt beside it" in said
    assert "one-auto runs in" not in said
