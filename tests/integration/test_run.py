"""`run` from manifest to report: five cells of a tiny model in one go, and what later runs make of them."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from safetensors.torch import load_file, save_file

from quantize_lib.files import read_json, sha256_file
from tests.support.small_runs import (
    FASTEST,
    FIVE,
    ROOT,
    command,
    environment,
    evaluation,
    manifest,
    report,
    save_tiny_model,
)

IDS = ["tiny-gptq-4bit", "tiny-gptq-8bit", "tiny-awq-4bit", "tiny-bnb-4bit", "tiny-bnb-8bit"]
CANARY = "hf_canaryCanaryCanaryCanary0123456789"
RECORD = "quantization_report.json"


@dataclass(frozen=True)
class Five:
    """A finished run of five cells."""

    folder: Path
    manifest: Path
    output: Path
    published: Path
    done: subprocess.CompletedProcess[str]
    children: tuple[bytes, ...]
    """/proc/PID/environ of every descendant that was seen while it ran."""


def _descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    found = [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found[1:]


def _watched(words: list[str], cwd: Path) -> tuple[subprocess.CompletedProcess[str], tuple[bytes, ...]]:
    """Run the command with a token in its environment, looking at its descendants' environments."""
    seen: dict[int, bytes] = {}
    with subprocess.Popen(
        [sys.executable, str(ROOT / "entrypoint.py"), *words],
        cwd=cwd,
        env=environment(HF_TOKEN=CANARY, HUGGING_FACE_HUB_TOKEN=CANARY, GITHUB_TOKEN=CANARY),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        finished = threading.Event()

        def watch() -> None:
            while not finished.wait(0.2):
                for pid in _descendants(run.pid):
                    try:
                        command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
                        # Between fork and exec a child still shows its parent's environment.
                        if b"quantize_lib" in command_line:
                            seen[pid] = Path(f"/proc/{pid}/environ").read_bytes()
                    except OSError:
                        continue

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, err = run.communicate(timeout=300)
        finished.set()
        watcher.join()
    return subprocess.CompletedProcess(words, run.returncode, out, err), tuple(seen.values())


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path, held_out_text: Path) -> Five:
    """The run that most tests here look at. Read only."""
    folder = tmp_path_factory.mktemp("five")
    model = save_tiny_model(folder / "model", calibration_text)
    path = manifest(folder, model, calibration_text, FIVE, evaluate=evaluation(held_out_text))
    done, children = _watched(["run", str(path), "--output", str(folder / "out")], folder)
    return Five(
        folder=folder,
        manifest=path,
        output=folder / "out",
        published=folder / "published",
        done=done,
        children=children,
    )


@pytest.fixture
def again(five: Five, tmp_path: Path) -> Five:
    """A copy of the finished run, to be changed."""
    shutil.copytree(five.output, tmp_path / "out")
    shutil.copytree(five.published, tmp_path / "published")
    document = yaml.safe_load(five.manifest.read_text(encoding="utf-8"))
    path = tmp_path / "quantize.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return Five(
        folder=tmp_path,
        manifest=path,
        output=tmp_path / "out",
        published=tmp_path / "published",
        done=five.done,
        children=(),
    )


def change(run: Five, **more: Any) -> None:
    """Put further keys into the run's manifest."""
    document = yaml.safe_load(run.manifest.read_text(encoding="utf-8"))
    run.manifest.write_text(yaml.safe_dump({**document, **more}), encoding="utf-8")


def rerun(run: Five, *words: str) -> subprocess.CompletedProcess[str]:
    """The same command on the run's folder."""
    return command("run", run.manifest, "--output", run.output, *words, cwd=run.folder)


def files_of(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash."""
    return {str(p.relative_to(folder)): sha256_file(p) for p in folder.rglob("*") if p.is_file()}


def statuses(run: Five) -> dict[str, str]:
    """Status by cell id."""
    return {cell_id: cell["status"] for cell_id, cell in report(run.output).items()}


def test_five_cells_of_one_manifest_are_published_by_one_run(five: Five) -> None:
    assert five.done.returncode == 0, five.done.stderr
    assert "Traceback" not in five.done.stdout + five.done.stderr
    assert statuses(five) == dict.fromkeys(IDS, "published")
    for cell_id in IDS:
        assert re.search(rf"^{cell_id} +published ", five.done.stdout, re.MULTILINE)
    assert five.done.stderr.count("Quantizing: 2/2 blocks") == 1


def test_the_report_follows_its_schema_and_holds_every_figure(five: Five) -> None:
    document = read_json(five.output / "report.json")
    Draft202012Validator(read_json(ROOT / "schemas" / "report.schema.json")).validate(document)
    for cell in document["cells"]:
        assert cell["error"] is cell["code"] is None
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", cell["revision"])
        assert re.fullmatch(r"[0-9a-f]{40}", cell["commit"])
        assert cell["size_after"] < cell["size_before"]
        for figure in ("seconds", "peak_memory_bytes", "perplexity_before", "perplexity_after"):
            assert cell[figure] > 0
        assert 0 < cell["kl_divergence"] < 1
        assert cell["reload"]["reproduced"] is True


def test_only_finished_things_lie_in_the_output_folder(five: Five) -> None:
    found = sorted(p.name for p in five.output.iterdir())
    assert found == sorted([*IDS, "report.html", "report.json", "log.txt", ".state"])
    assert [p.name for p in (five.output / ".state").iterdir()] == ["lock"]


@pytest.mark.parametrize("cell_id", IDS)
def test_a_published_repository_is_the_checkpoint_with_card_and_record(five: Five, cell_id: str) -> None:
    files = files_of(five.output / cell_id)
    assert files == files_of(five.published / cell_id)
    assert {"README.md", RECORD, "config.json", "tokenizer.json", "generation_config.json"} <= set(files)
    card = (five.published / cell_id / "README.md").read_text(encoding="utf-8")
    assert "base_model_relation: quantized" in card
    assert "license: apache-2.0" in card
    record = read_json(five.published / cell_id / RECORD)
    assert record["files"] == {name: value for name, value in files.items() if name != RECORD}


def test_plain_transformers_loads_a_checkpoint(five: Five) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = five.published / "tiny-bnb-8bit"
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder)("The capital of France is", return_tensors="pt")["input_ids"]
    assert model(input_ids=ids).logits.isfinite().all()


@pytest.mark.linux
def test_no_token_reaches_the_processes_that_read_the_model(five: Five) -> None:
    assert len(five.children) >= 2
    assert all(CANARY.encode() not in environ for environ in five.children)


def test_no_token_is_written_anywhere(five: Five) -> None:
    encoded = base64.b64encode(CANARY.encode()).rstrip(b"=")
    for name in (CANARY.encode(), encoded):
        assert name not in (five.done.stdout + five.done.stderr).encode()
        for path in (*five.output.rglob("*"), *five.published.rglob("*")):
            if path.is_file():
                assert name not in path.read_bytes(), path


def test_the_same_run_again_skips_everything(again: Five) -> None:
    before = files_of(again.published)
    done = rerun(again)
    assert done.returncode == 0
    assert statuses(again) == dict.fromkeys(IDS, "skipped")
    for cell_id in IDS:
        assert f"{cell_id} is skipped: unchanged" in done.stderr
    assert "Quantizing" not in done.stderr
    assert files_of(again.published) == before


def test_what_is_published_unchanged_is_skipped_without_an_output_folder(again: Five) -> None:
    shutil.rmtree(again.output)
    done = rerun(again)
    assert done.returncode == 0
    assert statuses(again) == dict.fromkeys(IDS, "skipped")
    assert "Quantizing" not in done.stderr


def test_another_gate_is_held_against_the_figures_without_computing(again: Five) -> None:
    document = yaml.safe_load(again.manifest.read_text(encoding="utf-8"))
    change(again, evaluate={**document["evaluate"], "max_kl_divergence": 0.01})
    done = rerun(again)
    assert done.returncode == 4
    assert "Quantizing" not in done.stderr
    assert statuses(again) == {
        "tiny-gptq-4bit": "gated",
        "tiny-gptq-8bit": "skipped",
        "tiny-awq-4bit": "gated",
        "tiny-bnb-4bit": "gated",
        "tiny-bnb-8bit": "skipped",
    }
    error = report(again.output)["tiny-bnb-4bit"]["error"]
    assert report(again.output)["tiny-bnb-4bit"]["code"] == "gate"
    assert re.fullmatch(r"KL divergence is 0\.0\d+ nats per token, more than the allowed 0\.01", error)


def test_a_changed_setting_rebuilds_its_cell_alone_and_publish_brings_it_out(again: Five) -> None:
    changed = [*FIVE[:2], {"method": "bitsandbytes", "bits": 4, "quant_type": "fp4"}, *FASTEST]
    document = yaml.safe_load(again.manifest.read_text(encoding="utf-8"))
    model = {**document["models"][0], "quantize": changed}
    change(again, models=[model], publish={"to": "directory", "path": "published"})
    published = files_of(again.published)
    done = rerun(again, "--no-publish")
    assert done.returncode == 0, done.stderr
    expected = {**dict.fromkeys(IDS, "skipped"), "tiny-bnb-4bit": "built"}
    assert statuses(again) == expected
    assert files_of(again.published) == published

    done = command("publish", again.output, cwd=again.folder)
    assert done.returncode == 0, done.stderr
    assert statuses(again)["tiny-bnb-4bit"] == "published"
    assert files_of(again.published / "tiny-bnb-4bit") == files_of(again.output / "tiny-bnb-4bit")
    config = read_json(again.published / "tiny-bnb-4bit" / "config.json")
    assert config["quantization_config"]["bnb_4bit_quant_type"] == "fp4"


def test_publish_refuses_a_checkpoint_that_was_changed(again: Five) -> None:
    shutil.rmtree(again.published)
    config = again.output / "tiny-awq-4bit" / "config.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    done = command("publish", again.output, cwd=again.folder)
    assert done.returncode == 5
    folder = again.output / "tiny-awq-4bit"
    assert report(again.output)["tiny-awq-4bit"]["error"] == (
        f"{folder} is not what was recorded: config.json was changed\n"
        "  Build it again; only what was checked is published."
    )
    assert report(again.output)["tiny-awq-4bit"]["code"] == "publish"
    assert statuses(again) == {**dict.fromkeys(IDS, "published"), "tiny-awq-4bit": "built"}
    assert not (again.published / "tiny-awq-4bit").exists()


def test_a_place_that_cannot_be_published_to_leaves_the_cell_built_and_weighs_more_than_a_gate(
    again: Five,
) -> None:
    shutil.rmtree(again.published)
    blocked = again.published / "tiny-bnb-8bit"
    blocked.mkdir(parents=True)
    (blocked / "mine.txt").write_text("not yours", encoding="utf-8")
    document = yaml.safe_load(again.manifest.read_text(encoding="utf-8"))
    change(again, evaluate={**document["evaluate"], "max_kl_divergence": 0.01})
    done = rerun(again)
    assert done.returncode == 5
    assert statuses(again) == {
        "tiny-gptq-4bit": "gated",
        "tiny-gptq-8bit": "published",
        "tiny-awq-4bit": "gated",
        "tiny-bnb-4bit": "gated",
        "tiny-bnb-8bit": "built",
    }
    assert report(again.output)["tiny-bnb-8bit"]["error"] == (
        f"{blocked} exists and was not published by this tool ({RECORD} is not in it)\n"
        "  Move it away, or choose another name with publish.name."
    )
    assert (blocked / "mine.txt").read_text(encoding="utf-8") == "not yours"


def test_the_same_cells_alone_are_the_same_bytes(five: Five, tmp_path: Path) -> None:
    """Also: what a cell becomes does not depend on its neighbours in the pass."""
    done = command(
        *("run", five.manifest, "--output", tmp_path / "out", "--no-publish"),
        *("--only", "tiny-gptq-4bit", "--only", "tiny-bnb-8bit"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    cells = report(tmp_path / "out")
    assert {cell_id: cell["status"] for cell_id, cell in cells.items()} == dict.fromkeys(
        ["tiny-gptq-4bit", "tiny-bnb-8bit"], "built"
    )
    for cell_id in cells:
        one, other = files_of(five.output / cell_id), files_of(tmp_path / "out" / cell_id)
        # The card, its picture and the record say when it was made, and beside which others.
        for dated in ("README.md", "quality.png", RECORD):
            del one[dated], other[dated]
        assert one == other


def test_a_cell_that_fails_does_not_stop_the_others(
    five: Five, calibration_text: Path, held_out_text: Path, tmp_path: Path
) -> None:
    """A weight beyond float16: LLM.int8 fails, NF4 goes on and misses its gate; 3 comes before 4."""
    model = tmp_path / "model"
    shutil.copytree(five.folder / "model", model)
    weights = load_file(model / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = 100_000
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    quantize = [{"method": "bitsandbytes", "bits": [4, 8]}]
    path = manifest(
        tmp_path, model, calibration_text, quantize, evaluate=evaluation(held_out_text, max_kl_divergence=0)
    )
    summary = tmp_path / "summary.md"
    done = command(
        *("run", path, "--output", tmp_path / "out"),
        cwd=tmp_path,
        env=environment(GITHUB_STEP_SUMMARY=str(summary)),
    )
    assert done.returncode == 3, done.stderr
    cells = report(tmp_path / "out")
    assert cells["tiny-bnb-8bit"]["status"] == "failed"
    assert cells["tiny-bnb-8bit"]["error"] == (
        "mlp.down_proj has weights beyond 65504, which LLM.int8 cannot hold\n"
        "  Keep the layer in full precision (modules_to_not_convert) or choose another method."
    )
    assert cells["tiny-bnb-4bit"]["status"] == "gated"
    assert (cells["tiny-bnb-8bit"]["code"], cells["tiny-bnb-4bit"]["code"]) == ("engine", "gate")
    assert (tmp_path / "out" / "tiny-bnb-4bit" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "tiny-bnb-8bit").exists()
    assert not (tmp_path / "published").exists()
    assert "tiny-bnb-8bit" in summary.read_text(encoding="utf-8")


def test_evaluate_prints_what_it_measured_as_json(five: Five, held_out_text: Path) -> None:
    folder = five.published / "tiny-bnb-8bit"
    words = ("evaluate", folder, "--text", held_out_text, "--samples", "2", "--sequence-length", "64")
    done = command(*words, cwd=five.folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["quantization"] == "bitsandbytes"
    assert said["tokens"] == 128
    assert 100 < said["perplexity"] < 10_000
    assert said["size"] == (folder / "model.safetensors").stat().st_size


def test_a_published_figure_is_measured_again_and_a_dishonest_one_is_found(
    five: Five, calibration_text: Path, held_out_text: Path, tmp_path: Path
) -> None:
    words = ("--measure", "--text", held_out_text)
    honest = five.published / "tiny-gptq-4bit"
    done = command("verify", honest, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "figures      ok: on the first 4 sequences of the held-out text: perplexity" in done.stdout
    dishonest = tmp_path / "dishonest"
    shutil.copytree(honest, dishonest)
    record = read_json(dishonest / RECORD)
    means = record["figures"]["perplexity"]["sequence_means"]
    record["figures"]["perplexity"]["sequence_means"] = [mean - 0.1 for mean in means]
    (dishonest / RECORD).write_text(json.dumps(record), encoding="utf-8")
    done = command("verify", dishonest, *words, cwd=tmp_path)
    assert done.returncode == 3
    assert "figures      failed: " in done.stdout
    other = command("verify", honest, "--measure", "--text", calibration_text, cwd=tmp_path)
    assert other.returncode == 2
    assert "that is not the text of the report" in other.stderr
