"""Rules that find models on the Hub: each run takes on as many as its limit says, until all are published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib.manifest import expand, load_manifest
from tests.support.fleet import DATASET, WRITE, base_model, hold
from tests.support.hub import Hub, serve
from tests.support.hub.store import Collection
from tests.support.model_files import LLAMA
from tests.support.small_runs import command, environment, report

QUANTIZE = [{"method": "bitsandbytes", "bits": 8}]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub()) as server:
        server.add_token(WRITE, "out")
        server.add_dataset(DATASET, {"train.jsonl": b'{"text": "A text."}\n'})
        yield server


def add_family(hub: Hub, folder: Path, *names: str) -> None:
    """Models of the organization `acme`, the last one the newest."""
    files = base_model(folder / "base")
    for name in names:
        hub.add_model(f"acme/{name}", files)


def manifest(folder: Path, *rules: dict[str, Any], **more: Any) -> Path:
    path = folder / "quantize.yml"
    document = {"version": 1, "watch": list(rules), "publish": {"to": "hub", "namespace": "out"}, **more}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def matrix(hub: Hub, path: Path, *more: str) -> tuple[list[str], str]:
    """The models of the matrix that `plan` gives to a workflow, and what it said."""
    env = environment(**hub.environment(path.parent / "home"), HF_TOKEN_READ=WRITE)
    done = command("plan", path, "--changed-only", "--format", "github", *more, cwd=path.parent, env=env)
    assert done.returncode == 0, done.stderr
    return [entry["model"] for entry in json.loads(done.stdout)["include"]], done.stderr


def publish(hub: Hub, path: Path, *names: str) -> None:
    """What a run of these models would leave on the Hub."""
    whole = expand(load_manifest(path), [(0, f"acme/{name}") for name in names])
    for job, cell in whole.cells():
        hold(hub, job, cell)


def test_each_run_takes_on_its_limit_and_goes_on_where_the_last_one_ended(hub: Hub, tmp_path: Path) -> None:
    add_family(hub, tmp_path, "one", "two", "three")
    path = manifest(tmp_path, {"organization": "acme", "limit": 2, "quantize": QUANTIZE})
    models, said = matrix(hub, path)
    assert models == ["three", "two"]
    assert "watch[0] finds 3 models in acme" in said
    assert "watch[0]: 1 more models wait for the next runs (limit: 2)" in said
    publish(hub, path, "three", "two")
    assert matrix(hub, path)[0] == ["one"]
    publish(hub, path, "one")
    assert matrix(hub, path)[0] == []
    add_family(hub, tmp_path, "four")
    assert matrix(hub, path)[0] == ["four"]


def test_a_rule_finds_what_its_patterns_say_and_nothing_that_is_quantized(hub: Hub, tmp_path: Path) -> None:
    add_family(hub, tmp_path, "Small-Instruct", "Small-old-Instruct", "Small")
    files = base_model(tmp_path / "other")
    card = b"---\nbase_model: acme/Small-Instruct\nbase_model_relation: quantized\n---\n"
    hub.add_model("acme/Small-Instruct-awq-Instruct", {**files, "README.md": card})
    hub.add_model("acme/Pickled-Instruct", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    rule = {"organization": "acme", "models": ["*-Instruct"], "exclude": ["*-old-*"], "limit": 9}
    path = manifest(tmp_path, {**rule, "quantize": QUANTIZE})
    assert matrix(hub, path)[0] == ["Small-Instruct"]


def test_a_model_that_cannot_be_quantized_is_passed_over_and_does_not_count(hub: Hub, tmp_path: Path) -> None:
    add_family(hub, tmp_path, "good")
    odd = json.dumps({**LLAMA, "is_encoder_decoder": True}).encode()
    hub.add_model("acme/odd", {**base_model(tmp_path / "odd"), "config.json": odd})
    path = manifest(tmp_path, {"organization": "acme", "quantize": QUANTIZE})
    models, said = matrix(hub, path)
    assert models == ["good"]
    assert "watch[0] passes over acme/odd: " in said


def test_found_models_are_kept_where_the_calibration_text_is_wrong(hub: Hub, tmp_path: Path) -> None:
    add_family(hub, tmp_path, "one")
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04")
    rule = {"organization": "acme", "limit": 2, "quantize": [{"method": "awq", "bits": 4}]}
    path = manifest(tmp_path, {**rule, "calibration": {"files": ["c.zip"]}})
    models, said = matrix(hub, path)
    assert models == ["one"]
    assert "c.zip is a zip archive" in said
    assert "passes over" not in said


def test_a_collection_gives_its_models_in_order_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    add_family(hub, tmp_path, "one", "two")
    slug = "acme/best-0123456789abcdef01234567"
    items = [{"type": "dataset", "id": DATASET}, {"type": "model", "id": "acme/one"}]
    hub.collections[slug] = collection(slug, [*items, {"type": "model", "id": "acme/two"}])
    path = manifest(tmp_path, {"collection": slug, "limit": 5, "quantize": QUANTIZE})
    assert matrix(hub, path)[0] == ["one", "two"]


@pytest.mark.parametrize("route", ["get_collection", "list_repos"])
def test_what_fails_for_a_passing_reason_is_asked_for_again(hub: Hub, tmp_path: Path, route: str) -> None:
    add_family(hub, tmp_path, "one")
    slug = "acme/best-0123456789abcdef01234567"
    hub.collections[slug] = collection(slug, [{"type": "model", "id": "acme/one"}])
    rule = {"collection": slug} if route == "get_collection" else {"organization": "acme"}
    hub.fail("status", route=route, status=503)
    assert matrix(hub, manifest(tmp_path, {**rule, "quantize": QUANTIZE}))[0] == ["one"]
    assert len(hub.asked(route)) == 2


def collection(slug: str, items: list[dict[str, str]]) -> Collection:
    made = Collection(slug=slug, title="Best", owner="acme", private=False, description=None)
    made.items += [{**item, "_id": f"{number:024x}", "position": number} for number, item in enumerate(items)]
    return made


@pytest.mark.parametrize(
    ("rule", "message"),
    [({"collection": "acme/gone-1"}, "there is no collection acme/gone-1 on the Hub, or it is private")],
)
def test_what_cannot_be_looked_up_ends_the_plan(
    hub: Hub, tmp_path: Path, rule: dict[str, Any], message: str
) -> None:
    path = manifest(tmp_path, {**rule, "quantize": QUANTIZE})
    env = environment(**hub.environment(tmp_path / "home"), HF_TOKEN_READ=WRITE)
    done = command("plan", path, cwd=tmp_path, env=env)
    assert done.returncode == 3
    assert message in done.stderr


def test_a_run_skips_what_is_unchanged_and_a_job_of_the_matrix_keeps_its_cells(
    hub: Hub, tmp_path: Path
) -> None:
    """`--only` names cells that the plan chose; the limit held there."""
    add_family(hub, tmp_path, "one", "two")
    path = manifest(tmp_path, {"organization": "acme", "quantize": QUANTIZE})
    publish(hub, path, "one", "two")
    env = environment(**hub.environment(tmp_path / "home"), HF_TOKEN_WRITE=WRITE, HF_TOKEN_READ=WRITE)
    done = command("run", path, "--output", "out", "--only", "one-bnb-8bit", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert {name: cell["status"] for name, cell in report(tmp_path / "out").items()} == {
        "one-bnb-8bit": "skipped"
    }
    done = command("run", path, "--output", "out", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert [cell["status"] for cell in report(tmp_path / "out").values()] == ["skipped", "skipped"]
