"""The image that the real Dockerfile builds: what is in it, the demo in it, and foreign code in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
import torch
import yaml
from safetensors.torch import load_file

from quantize_lib import __version__
from quantize_lib.executors.docker.container_spec import MAX_PROCESSES
from quantize_lib.files import read_json
from tests.support.containers import CANARY, containers, events, run, without_torch
from tests.support.hub import Hub, serve
from tests.support.local_task import endings_of, write_endings
from tests.support.small_runs import FASTEST, ROOT, manifest, report, save_tiny_model

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.docker

UID, GID = (4711, 4712) if os.getuid() == 0 else (os.getuid(), os.getgid())
"""Nobody whom the image knows, where we may give files away."""


def docker_run(image: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`docker run` as the docs write it, with the root read-only and no network."""
    return subprocess.run(
        [*command(folder), image, *words], capture_output=True, text=True, timeout=600, check=False
    )


def command(folder: Path) -> list[str]:
    """The words before the image's name."""
    return [
        *("docker", "run", "--rm", "--user", f"{UID}:{GID}", "--volume", f"{folder}:/workspace"),
        *("--read-only", "--tmpfs", "/tmp:exec", "--network", "none", "--cap-drop", "ALL"),
    ]


def give_away(folder: Path) -> None:
    """Let a folder belong to the container's user, as a user's own folder does."""
    for path in (folder, *folder.rglob("*")):
        if os.getuid() == 0:
            os.chown(path, UID, GID)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model that any user can read. Read only."""
    folder = save_tiny_model(tmp_path_factory.mktemp("image") / "tiny", calibration_text)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def test_it_says_who_it_is_and_the_versions_of_what_matters(engine: DockerClient, image: str) -> None:
    config = engine.images.get(image).attrs["Config"]
    assert config["User"] == "1000:1000"
    assert config["Labels"]["org.opencontainers.image.title"] == "Model Quantizer"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    done = subprocess.run(["docker", "run", "--rm", image, "--version"], capture_output=True, text=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    assert said["model-quantizer"] == __version__
    assert said["torch"].endswith("+cpu")
    assert set(said) > {"python", "transformers", "gptqmodel", "bitsandbytes", "safetensors", "datasets"}


def test_it_holds_no_compiler_no_cache_no_pip_and_nothing_of_cuda(image: str) -> None:
    script = r"""
        for tool in gcc cc g++ c++ ld make nvcc; do command -v $tool; done
        cd /opt/venv/lib/python3*/site-packages && ls -d pip wheel hatchling nvidia triton 2>/dev/null
        find /opt -iname '*cuda*.so*' -o -name 'libcu*.so*'
        find /tmp /root/.cache /var/cache/apt /var/lib/apt/lists -type f 2>/dev/null
    """
    words = ["docker", "run", "--rm", "--user", "0", "--network", "none", "--entrypoint", "sh"]
    done = subprocess.run([*words, image, "-c", script], capture_output=True, text=True)
    assert done.stdout == ""


def test_no_layer_and_no_line_of_its_history_holds_a_secret(engine: DockerClient, image: str) -> None:
    history = json.dumps(engine.images.get(image).history())
    assert CANARY not in history
    assert "ENTRYPOINT" in history
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        assert save.stdout is not None
        # The second word shows that the search would find the first.
        found = search(save.stdout, [CANARY.encode(), b"Quantize Hugging Face models from one manifest"])
    assert save.returncode == 0
    assert found == {b"Quantize Hugging Face models from one manifest"}


def search(stream: IO[bytes], words: list[bytes]) -> set[bytes]:
    """Which words stand in an image's layers, compressed or not."""
    found: set[bytes] = set()
    overlap = max(map(len, words))
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is None:
                continue
            before = b""
            for chunk in plain(file):
                text = before + chunk
                found.update(word for word in words if word in text)
                before = chunk[-overlap:]
    return found


def plain(file: IO[bytes]) -> Iterator[bytes]:
    """A file's bytes, out of gzip where they are in it."""
    first = file.read(2**20)
    unzip = zlib.decompressobj(wbits=47) if first[:2] == b"\x1f\x8b" else None
    chunk = first
    while chunk:
        yield chunk if unzip is None else unzip.decompress(chunk)
        chunk = file.read(2**20)


def test_the_demo_runs_in_it_as_any_user_and_its_files_are_that_users(
    image: str, small_model: Path, calibration_text: Path, tmp_path: Path
) -> None:
    demo = ROOT / "examples" / "demo"
    document = yaml.safe_load((demo / "quantize.yml").read_text(encoding="utf-8"))
    document["defaults"]["calibration"] |= {"samples": 8, "sequence_length": 128}
    document["evaluate"]["perplexity"] |= {"samples": 2, "sequence_length": 128}
    # Two blocks of thirty: what they are worth is not the point.
    document["evaluate"] |= {"max_perplexity_increase": "500%", "max_kl_divergence": 5}
    document["evaluate"]["tasks"] = [{"file": "tasks/endings.yml", "min": 0}]
    (tmp_path / "quantize.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    shutil.copytree(small_model, tmp_path / "work" / "model")
    for text in calibration_text.parent.glob("*.jsonl"):
        shutil.copy(text, tmp_path / "work")
    write_endings(tmp_path / "tasks", endings_of(tmp_path / "work" / "held-out.jsonl", 4))
    give_away(tmp_path)
    done = docker_run(image, tmp_path, "run", "quantize.yml")
    assert done.returncode == 0, done.stderr
    cells = report(tmp_path / "output")
    assert len(cells) == 8
    assert {cell["status"] for cell in cells.values()} == {"published"}
    assert all(cell["reload"]["reproduced"] for cell in cells.values())
    figures = [cell["tasks"]["endings"] for cell in cells.values()]
    assert {(one["metric"], one["examples"]) for one in figures} == {("acc", 4)}
    assert all(0 <= one[when] <= 1 for one in figures for when in ("before", "after"))
    cards = [card.read_text(encoding="utf-8") for card in (tmp_path / "work").rglob("published/**/README.md")]
    # That of the GGUF files together says of each what the table of all checkpoints says.
    assert sum("| <code>endings</code> | acc | 4 |" in card for card in cards) == 8 == len(cards) - 1
    assert {path.name for path in tmp_path.iterdir()} == {"quantize.yml", "work", "tasks", "output"}
    for path in (tmp_path / "output", *(tmp_path / "output").rglob("*"), *(tmp_path / "work").rglob("*")):
        assert (path.stat().st_uid, path.stat().st_gid) == (UID, GID), path


def test_without_a_user_its_files_belong_to_the_images_own(
    image: str, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "tiny")
    shutil.copy(calibration_text, tmp_path / "text.jsonl")
    manifest(tmp_path, Path("tiny"), Path("text.jsonl"), FASTEST)
    tmp_path.chmod(0o777)
    words = ["docker", "run", "--rm", "--volume", f"{tmp_path}:/workspace", "--network", "none", image]
    done = subprocess.run([*words, "run", "quantize.yml"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    made = [path for name in ("output", "published") for path in (tmp_path / name).rglob("*")]
    assert made
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(1000, 1000)}


# As `docker stop` and Ctrl-C in `docker run` send them.
@pytest.mark.parametrize(
    "words", [("stop", "--time", "60"), ("kill", "--signal", "INT")], ids=["stop", "INT"]
)
def test_a_signal_leaves_a_report(
    words: tuple[str, ...], image: str, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "tiny")
    shutil.copy(calibration_text, tmp_path / "text.jsonl")
    path = manifest(tmp_path, Path("tiny"), Path("text.jsonl"), [{"method": "gptq", "bits": [2, 3, 4, 8]}])
    assert path.name == "quantize.yml"
    give_away(tmp_path)
    name = f"model-quantizer-stop-{os.getpid()}"
    run_words = [*command(tmp_path), "--name", name, image, "run", "quantize.yml"]
    with subprocess.Popen(run_words, stderr=subprocess.PIPE, text=True) as container:
        assert container.stderr is not None
        for line in container.stderr:
            if "4 cells" in line:
                break
        subprocess.run(["docker", *words, name], capture_output=True, check=True)
        container.communicate(timeout=60)
    assert container.returncode == 130
    assert {cell["error"] for cell in report(tmp_path / "output").values()} == {"interrupted"}


def test_a_plain_run_of_the_image_refuses_foreign_code(image: str, tmp_path: Path) -> None:
    model = {"id": "acme/model", "revision": "0" * 40, "trust_remote_code": True, "quantize": FASTEST}
    (tmp_path / "quantize.yml").write_text(yaml.safe_dump({"version": 1, "models": [model]}))
    give_away(tmp_path)
    done = docker_run(image, tmp_path, "run", "quantize.yml")
    assert done.returncode == 2
    assert "trust_remote_code runs code of the model's author, which needs --executor docker" in done.stderr


HOSTILE = '''
"""Configuration code as it might lie in a model's repository."""
import json, os, socket, sys, time
from transformers import LlamaConfig

def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"

loot = {
    "tokens": [v for v in os.environ.values() if "secret" in v],
    "socket": attempt(lambda: socket.create_connection(("1.1.1.1", 443), timeout=3)),
    "model": attempt(lambda: open(os.path.join(os.environ.get("MODEL", "/model"), "x"), "w")),
    "job": attempt(lambda: open("/job/job.json", "w")),
    "code": attempt(lambda: open("/opt/app/entrypoint.py", "w")),
    "etc": attempt(lambda: open("/etc/passwd", "a")),
    "root": attempt(lambda: os.setuid(0)),
    "host": os.path.exists("/var/run/docker.sock"),
}
print("LOOT " + json.dumps(loot), flush=True)
forks = 0
try:
    while True:
        if os.fork() == 0:
            while True:
                time.sleep(1000)
        forks += 1
except OSError:
    print("FORKS " + json.dumps(forks), flush=True)
for number in range(1000):
    with open(f"/output/huge-{number}", "wb") as file:
        file.truncate(2**30)
time.sleep(1000)

class EvilConfig(LlamaConfig):
    pass
'''


HARMLESS = '''
"""A model of its own that is a Llama."""
from transformers import LlamaConfig, LlamaForCausalLM

print("HARMLESS", flush=True)

class OwnConfig(LlamaConfig):
    pass

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
'''


def with_code(
    tiny: Path, module: str, code: str, *, config: str, model: str | None = None
) -> dict[str, bytes]:
    """A model's files with classes of its own."""
    classes = {"AutoConfig": f"{module}.{config}"}
    if model is not None:
        classes["AutoModelForCausalLM"] = f"{module}.{model}"
    content = {**read_json(tiny / "config.json"), "auto_map": classes}
    return {
        **{path.name: path.read_bytes() for path in tiny.iterdir()},
        "config.json": json.dumps(content).encode(),
        f"{module}.py": code.encode(),
    }


def on_hub(hub: Hub, folder: Path) -> dict[str, str]:
    """An environment for a host without torch that reads from a Hub with a token."""
    token = hub.add_token("hf_secret", "reader", "read")
    return without_torch(folder) | hub.environment(folder / "hub") | {"HF_TOKEN": token}


def test_hostile_code_gets_nothing_breaks_nothing_and_the_others_go_on(
    engine: DockerClient, image: str, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    files = with_code(tiny, "configuration_evil", HOSTILE, config="EvilConfig")
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    hub = Hub()
    commit = hub.add_model("acme/evil", files).head
    evil = {"id": "acme/evil", "revision": commit, "trust_remote_code": True, "quantize": FASTEST}
    document["models"] = [evil, *document["models"]]
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with serve(hub):
        env = on_hub(hub, tmp_path) | {"GITHUB_TOKEN": "ghs_secret"}
        code, said = run(tmp_path, "--image", image, "--memory", "6g", "--timeout", "10m", env=env)

    assert code == 3, said
    assert events(said, "LOOT ") == {
        "tokens": [],
        "socket": "OSError",
        "model": "OSError",
        "job": "OSError",
        "code": "OSError",
        "etc": "PermissionError",
        "root": "PermissionError",
        "host": False,
    }
    assert 100 < events(said, "FORKS ") < MAX_PROCESSES
    cells = report(tmp_path / "out")
    assert cells["evil-bnb-8bit"]["status"] == "failed"
    assert "the container was stopped: it wrote more than" in cells["evil-bnb-8bit"]["error"]
    assert cells["tiny-bnb-8bit"]["status"] == "published"
    (snapshot,) = (tmp_path / "hub").glob("hub/models--acme--evil/snapshots/*")
    assert {file.name: file.read_bytes() for file in snapshot.iterdir()} == files
    assert [file.name for file in (tmp_path / "out" / ".state").iterdir()] == ["lock"]
    assert containers(engine, tmp_path) == []


def test_a_model_whose_code_is_harmless_is_quantized_with_it(
    image: str, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    files = with_code(tiny, "modeling_own", HARMLESS, config="OwnConfig", model="OwnModel")
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    hub = Hub()
    commit = hub.add_model("acme/own", files).head
    model = {"id": "acme/own", "revision": commit, "trust_remote_code": True, "quantize": FASTEST}
    path.write_text(yaml.safe_dump({**document, "models": [model]}), encoding="utf-8")
    with serve(hub):
        exit_code, said = run(tmp_path, "--image", image, env=on_hub(hub, tmp_path))
    assert exit_code == 0, said
    published = tmp_path / "published" / "own-bnb-8bit"
    assert (published / "modeling_own.py").read_text(encoding="utf-8") == HARMLESS
    assert read_json(published / "config.json")["auto_map"]["AutoConfig"] == "modeling_own.OwnConfig"
    assert "HARMLESS" in said


def test_a_pickled_model_is_read_in_the_container_alone(
    image: str, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    """The host has no torch here, and would fail at the pickle that is none."""
    weights = BytesIO()
    torch.save(load_file(tiny / "model.safetensors"), weights)
    side = {path.name: path.read_bytes() for path in tiny.iterdir() if path.suffix != ".safetensors"}
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    hub = Hub()
    for name, data in (("good", weights.getvalue()), ("bad", b"\x80\x02no pickle")):
        hub.add_model(f"acme/{name}", {**side, "pytorch_model.bin": data})
        document["models"].append({"id": f"acme/{name}", "allow_pickle": True, "quantize": FASTEST})
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with serve(hub):
        code, said = run(tmp_path, "--image", image, env=on_hub(hub, tmp_path))
    assert code == 3, said
    cells = report(tmp_path / "out")
    assert cells["bad-bnb-8bit"]["error"].startswith(
        "pytorch_model.bin cannot be read as tensors and nothing else: "
    )
    assert cells["good-bnb-8bit"]["status"] == "published"
    published = tmp_path / "published"
    assert (published / "good-bnb-8bit" / "model.safetensors").read_bytes() == (
        published / "tiny-bnb-8bit" / "model.safetensors"
    ).read_bytes()


def test_a_job_over_its_memory_limit_is_told_apart(
    image: str, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    manifest(tmp_path, tiny, calibration_text, FASTEST)
    code, said = run(tmp_path, "--image", image, "--memory", "150m")
    assert code == 3, said
    (cell,) = report(tmp_path / "out").values()
    assert "needs more memory than its limit of 157.3 MB" in cell["error"]
    assert "Raise --memory" in cell["error"]
