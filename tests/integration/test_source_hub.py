"""Hub models and data sets through the genuine client, against a server on the loopback address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.source.base_card import MAX_BYTES, parse_card
from tests.support.hub import Hub, Request, serve
from tests.support.hub.matrix import FAULTS
from tests.support.model_files import LLAMA, write_model, write_shard

ROOT = Path(__file__).resolve().parents[2]
CARD = b"---\nlicense: apache-2.0\n---\n"

CLIENT = """
import json, sys
from contextlib import contextmanager
from quantize_lib.errors import QuantizerError
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.source.model_spec import ModelSpec

class Reporter:
    advanced, total, warnings = 0, None, []
    @contextmanager
    def progress(self, title, total, unit):
        self.total = total
        yield self
    def advance(self, amount=1):
        self.advanced += amount
    def warning(self, message):
        self.warnings.append(message)

def model(id, revision="main", fetched=False, **more):
    from quantize_lib.source import inspect, fetch, read_facts, side_files
    spec = ModelSpec(id=id, name="m", revision=revision, **more)
    facts = inspect(spec, token="hf_reader")
    told = {"revision": facts.revision, "layers": len(facts.layers), "download": facts.download_bytes,
            "weights": facts.weight_bytes, "card": dict(facts.card), "notes": facts.notes}
    if fetched:
        reporter = Reporter()
        source = fetch(spec, facts, reporter, token="hf_reader")
        told |= {"files": sorted(str(p.relative_to(source.folder)) for p in source.folder.rglob("*")),
                 "license": source.license, "total": reporter.total, "advanced": reporter.advanced,
                 "side": [p.name for p in side_files(source.folder)],
                 "same": all(getattr(read_facts(spec, source.folder, revision=facts.revision), name)
                             == getattr(facts, name) for name in ("tensors", "notes", "weight_files")),
                 "again": inspect(spec, token="hf_reader").download_bytes,
                 "warnings": reporter.warnings, "folder": str(source.folder)}
    return told

def resolved(id):
    from quantize_lib.host.lookups import Lookups
    reporter = Reporter()
    lookups = Lookups(reporter)
    for name in "one", "two":
        found = lookups.model(ModelSpec(id=id, name=name))
    return {"revision": found.revision, "warnings": reporter.warnings}

def build(base, **spec):
    from quantize_lib.source.other_build import fetch_build, find_build
    found = find_build(ModelSpec(name="m", **spec), base, base_id="acme/base")
    files = sorted(path.name for path in fetch_build(found, Reporter()).iterdir())
    return {"revision": found.revision, "size": found.weight_bytes, "files": files}

def texts(commit=None, **spec):
    from quantize_lib.calibration.texts import collect_texts
    found = collect_texts(TextSpec(**spec), token=None, commit=commit)
    return vars(found)

call = json.loads(sys.argv[1])
try:
    print(json.dumps(globals()[call.pop("call")](**call)))
except QuantizerError as error:
    print(json.dumps({"family": type(error).__name__, "message": error.message, "hint": error.hint}))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub()) as server:
        server.add_token("hf_reader", "reader", "read")
        yield server


class Client:
    """Calls in a process of its own: the Hub's client reads its address when it is imported."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self._hub, self._home = hub, home

    def __call__(
        self, call: str, *, environ: dict[str, str] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, json.dumps({"call": call, **arguments})],
            env={
                **kept,
                **self._hub.environment(self._home),
                "PYTHONPATH": str(ROOT),
                **(environ or {}),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    return Client(hub, tmp_path / "home")


def add_model(
    hub: Hub, folder: Path, *, config: dict[str, Any] = LLAMA, shards: int = 1, without: str | None = None
) -> dict[str, bytes]:
    write_model(folder, config, shards=shards)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"README.md": CARD, "modeling.py": b"raise SystemExit", "pytorch_model.bin": bytes(10_000)}
    files |= {"original/tokenizer.model": b"x", "chat_template.jinja": b"{{ x }}"}
    hub.add_model("acme/tiny", {name: data for name, data in files.items() if name != without})
    return files


@pytest.mark.parametrize("padding", [0, 2 * MAX_BYTES], ids=["small", "huge"])
def test_a_card_on_the_hub_is_read_as_a_folders_is_without_a_download(
    hub: Hub, client: Client, tmp_path: Path, padding: int
) -> None:
    text = b"---\nlicense: Apache 2.0\nlanguage: [en, no, 7]\n---\n" + b"x" * padding
    write_model(tmp_path / "tiny")
    files = {path.name: path.read_bytes() for path in (tmp_path / "tiny").iterdir()}
    hub.add_model("acme/tiny", {**files, "README.md": text})
    told = client("model", id="acme/tiny")
    card = parse_card(text)
    assert told["card"] == card.fields == {"license": "apache-2.0", "language": ["en", "no"]}
    assert told["notes"] == list(card.notes)
    assert len(card.notes) == 1
    assert told["download"] > len(text)


def test_another_build_is_refused_by_its_config_or_brought(hub: Hub, client: Client, tmp_path: Path) -> None:
    files = add_model(hub, tmp_path / "m", shards=3)
    refused = client("build", id="acme/tiny", base={**LLAMA, "vocab_size": 65})["message"]
    assert "its vocabulary is 64, not 65" in refused
    assert not [request for request in hub.requests if "model-0000" in request.path]
    told = client("build", id="acme/tiny", base=LLAMA)
    size = sum(len(data) for name, data in files.items() if "of-00003" in name)
    assert (told["revision"], told["size"]) == (hub.model("acme/tiny").head, size)
    assert not {"modeling.py", "pytorch_model.bin", "original"} & {*told["files"]}


@pytest.mark.parametrize("shards", [1, 3])
def test_a_model_is_known_before_and_complete_after_the_download(
    hub: Hub, client: Client, tmp_path: Path, shards: int
) -> None:
    files = add_model(hub, tmp_path / "m", shards=shards)
    told = client("model", id="acme/tiny", fetched=True)
    left = {"modeling.py", "pytorch_model.bin", "original/tokenizer.model"}
    needed = {name: data for name, data in files.items() if name not in left}
    weights = sum(len(data) for name, data in files.items() if name.endswith(".safetensors"))
    assert told["revision"] == hub.model("acme/tiny").head
    assert told["layers"] == 14
    assert told["weights"] == weights
    assert told["files"] == sorted(needed)
    assert told["license"] == "apache-2.0"
    assert told["side"] == ["chat_template.jinja", "tokenizer.json"]
    # config.json (and the index) came with the look at the headers.
    early = sum(len(needed[name]) for name in needed if "config.json" in name or "index.json" in name)
    assert told["download"] == sum(map(len, needed.values())) - early
    assert told["total"] == told["advanced"] == told["download"]
    assert told["same"]
    assert not told["again"]
    assert all(request.headers["user-agent"].startswith("model-quantizer/") for request in hub.requests)


def test_an_odd_model_is_known_before_the_download_as_it_is_after(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    files = add_model(hub, tmp_path / "m", shards=2)
    folder = tmp_path / "m"
    write_shard(folder / "mtp.safetensors", {"mtp.fc.weight": (4, 4), "model.norm.weight": (96,)})
    index = json.loads(files["model.safetensors.index.json"])
    index["weight_map"] |= {"mtp.fc.weight": "mtp.safetensors", "mtp.norm.weight": "mtp.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    hub.add_model("acme/tiny", {path.name: path.read_bytes() for path in folder.iterdir()})
    told = client("model", id="acme/tiny", fetched=True)
    assert told["same"]
    assert len(told["notes"]) == 3
    # transformers reads it.
    assert "mtp.safetensors" in told["files"]


def test_an_index_beside_a_single_file_is_told_before_the_download_and_after(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    files = add_model(hub, tmp_path / "m")
    hub.add_model("acme/tiny", files | {"model.safetensors.index.json": b"{}"})
    told = client("model", id="acme/tiny", fetched=True)
    assert told["same"]
    assert len(told["notes"]) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_headers_are_read_without_the_weights(hub: Hub, client: Client, tmp_path: Path, ranges: bool) -> None:
    hub.ranges = ranges
    config = LLAMA | {"vocab_size": 40_000}
    files = add_model(hub, tmp_path / "m", config=config)
    size = len(files["model.safetensors"])
    assert client("model", id="acme/tiny")["weights"] == size
    assert hub.sent("model.safetensors") < (200_000 if ranges else size / 2)


def test_a_header_longer_than_the_first_read_is_read_whole(hub: Hub, client: Client, tmp_path: Path) -> None:
    add_model(hub, tmp_path / "m", config=LLAMA | {"num_hidden_layers": 120})
    assert client("model", id="acme/tiny")["layers"] == 120 * 7


@pytest.mark.parametrize("fault", ["503", "429", "dropped", "answer lost", "truncated"])
def test_every_request_may_fail_once(hub: Hub, client: Client, tmp_path: Path, fault: str) -> None:
    """On the way to one download each address fails at its first request."""
    files = add_model(hub, tmp_path / "m", shards=2)
    hit: set[str] = set()

    def first_time(request: Request) -> bool:
        new = request.target not in hit
        hit.add(request.target)
        return new

    kind, status, retry_after = FAULTS[fault]
    hub.fail(kind, when=first_time, times=None, status=status, retry_after=retry_after)
    told = client("model", id="acme/tiny", fetched=True)
    assert told["layers"] == 14
    (snapshot,) = (tmp_path / "home" / "hub").glob("models--acme--tiny/snapshots/*")
    for path in snapshot.rglob("*"):
        assert path.is_dir() or path.read_bytes() == files[path.name]
    assert len(hit) > 8


@pytest.mark.parametrize("times", [2, None])
def test_a_header_that_breaks_off_is_read_again_a_few_times(
    hub: Hub, client: Client, tmp_path: Path, times: int | None
) -> None:
    add_model(hub, tmp_path / "m")
    hub.fail("truncated", route="get_object", times=times)
    told = client("model", id="acme/tiny")
    if times:
        assert told["layers"] == 14
    else:
        assert told["message"].startswith("model acme/tiny cannot be fetched: peer closed connection")
    assert len(hub.asked("get_object")) == (3 if times else 4)


@pytest.mark.parametrize(
    ("gated", "message", "hint"),
    [
        (
            True,
            "model acme/tiny is gated and this account has no access to it",
            "Accept its terms at https://huggingface.co/acme/tiny, then pass that account's token in "
            "HF_TOKEN_READ or HF_TOKEN. A local folder works too: ./folder.",
        ),
        (
            False,
            "model acme/tiny does not exist on the Hub, or is private",
            "Check the spelling; the account of the token in HF_TOKEN_READ or HF_TOKEN has no access to a "
            "private one of that name. A local folder works too: ./folder.",
        ),
    ],
)
def test_a_model_that_is_not_for_us_says_what_to_do(
    hub: Hub, client: Client, tmp_path: Path, gated: bool, message: str, hint: str
) -> None:
    add_model(hub, tmp_path / "m")
    repository = hub.model("acme/tiny")
    repository.gated, repository.private = ("manual", False) if gated else (False, True)
    assert client("model", id="acme/tiny") == {"family": "SourceError", "message": message, "hint": hint}


def test_a_missing_revision_is_named(hub: Hub, client: Client, tmp_path: Path) -> None:
    add_model(hub, tmp_path / "m")
    told = client("model", id="acme/tiny", revision="v9")
    assert told["message"] == "model acme/tiny has no revision 'v9'"


def test_without_a_token_the_hint_is_another_one(client: Client) -> None:
    told = client("texts", dataset="acme/gone")
    assert "a private one needs a token with read access in HF_TOKEN_READ" in told["hint"]


def test_a_token_that_is_not_valid_is_said_to_be(client: Client) -> None:
    told = client("texts", dataset="acme/gone", environ={"HF_TOKEN_READ": "hf_of_yesterday"})
    assert told["message"] == "data set acme/gone cannot be read: the Hub answered 401"
    assert told["hint"].startswith("The token in HF_TOKEN_READ or HF_TOKEN is not valid")


def test_a_renamed_model_is_found_and_its_new_name_is_said_once(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    add_model(hub, tmp_path / "m")
    hub.rename(hub.model("acme/tiny"), "other/small")
    assert client("resolved", id="acme/tiny") == {
        "revision": hub.model("other/small").head,
        "warnings": ["acme/tiny is called `other/small` on the Hub now; write that in the manifest"],
    }
    assert client("model", id="acme/tiny", fetched=True)["layers"] == 14


def test_a_revision_is_asked_for_once_whoever_needs_it(hub: Hub, client: Client, tmp_path: Path) -> None:
    add_model(hub, tmp_path / "m")
    client("resolved", id="acme/tiny")
    assert len(hub.requests) == 1


def whole_weights(request: Request) -> bool:
    """A download of the weights, not the look at their header."""
    return request.site == "storage" and not request.headers.get("range", "").startswith("bytes=0-")


def test_a_file_that_arrives_damaged_is_fetched_again(hub: Hub, client: Client, tmp_path: Path) -> None:
    files = add_model(hub, tmp_path / "m")
    hub.fail("corrupt", when=whole_weights)
    told = client("model", id="acme/tiny", fetched=True)
    assert told["warnings"] == ["acme/tiny: model.safetensors is damaged and fetched again"]
    assert (Path(told["folder"]) / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_a_file_that_arrives_damaged_twice_is_refused(hub: Hub, client: Client, tmp_path: Path) -> None:
    add_model(hub, tmp_path / "m")
    hub.fail("corrupt", when=whole_weights, times=None)
    told = client("model", id="acme/tiny", fetched=True)
    assert told["family"] == "SourceError"
    assert told["message"] == "acme/tiny: model.safetensors arrived twice with other bytes than the Hub lists"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("harm", ["truncated", "changed"])
def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(
    hub: Hub, client: Client, tmp_path: Path, name: str, harm: str
) -> None:
    files = add_model(hub, tmp_path / "m")
    folder = Path(client("model", id="acme/tiny", fetched=True)["folder"])
    data = files[name]
    (folder / name).write_bytes(data[:-1] if harm == "truncated" else bytes([data[0] ^ 1]) + data[1:])
    # A header that lies about its length would be seen at the load; this is about the bytes behind it.
    told = client("model", id="acme/tiny", fetched=True)
    assert told["warnings"] == [f"acme/tiny: {name} is damaged and fetched again"]
    assert (folder / name).read_bytes() == data


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    files = add_model(hub, tmp_path / "m", config=LLAMA | {"vocab_size": 80_000})
    hub.fail("truncated", when=whole_weights)
    told = client("model", id="acme/tiny", fetched=True)
    weights = files["model.safetensors"]
    assert (Path(told["folder"]) / "model.safetensors").read_bytes() == weights
    # The client writes 10 MiB at a time.
    assert len(weights) > 20 << 20
    ranges = [request.headers.get("range") for request in hub.asked("get_object")]
    assert ranges[1:3] == [None, f"bytes={10 << 20}-"]


def test_files_that_arrived_are_not_fetched_again_by_the_next_run(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    add_model(hub, tmp_path / "m", shards=3)
    hub.fail("status", when=lambda request: whole_weights(request) and "00002" in request.target, times=None)
    told = client("model", id="acme/tiny", fetched=True)
    assert told["message"] == "model acme/tiny cannot be read: the Hub answered 503"
    assert told["hint"].startswith("Try again later; files that have arrived are kept.")
    hub.faults.clear()
    before = hub.sent("tokenizer.json")
    client("model", id="acme/tiny", fetched=True)
    assert hub.sent("tokenizer.json") == before


def test_what_is_no_hub_id_is_refused(client: Client) -> None:
    told = client("model", id="acme/tiny/more")
    assert told["message"] == "'acme/tiny/more' is no Hub id"


def test_offline_says_so(client: Client) -> None:
    told = client("model", id="acme/tiny", environ={"HF_HUB_OFFLINE": "1"})
    assert told["message"] == "model acme/tiny cannot be looked up: HF_HUB_OFFLINE is set"


def test_an_unreachable_hub_says_so(client: Client) -> None:
    told = client("model", id="acme/tiny", environ={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert told["family"] == "SourceError"
    assert told["message"].startswith("model acme/tiny cannot be fetched: ")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("config.json", "acme/tiny has no config.json"),
        ("tokenizer.json", "acme/tiny has no tokenizer (tokenizer.json, tokenizer.model or vocab.json)"),
        (
            "model.safetensors",
            "acme/tiny has pickled weights alone (pytorch_model.bin); reading them can run foreign code",
        ),
    ],
)
def test_a_missing_file_is_found_before_the_download(
    hub: Hub, client: Client, tmp_path: Path, gone: str, message: str
) -> None:
    add_model(hub, tmp_path / "m", without=gone)
    assert client("model", id="acme/tiny")["message"] == message


def test_an_unsupported_model_is_refused_before_its_weights_are_looked_at(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    config = LLAMA | {"is_encoder_decoder": True}
    add_model(hub, tmp_path / "m", config=config)
    assert "encoder-decoder" in client("model", id="acme/tiny")["message"]
    assert hub.sent("model.safetensors") == 0


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 1234567\n"
ADAPTER = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "acme/base"}).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"adapter_config.json": ADAPTER},
            "acme/tiny is an adapter (`LORA`) for `acme/base`, not a whole model",
        ),
        ({"x.gguf": b"GGUF"}, "acme/tiny has its weights as GGUF alone (x.gguf), which cannot be read"),
        (
            {"original/consolidated.safetensors": b"x"},
            "acme/tiny has its weights in their publisher's own layout alone "
            "(original/consolidated.safetensors), "
            "which cannot be read",
        ),
        (
            {"model-00001-of-00002.safetensors": b"x"},
            "acme/tiny has shards (model-00001-of-00002.safetensors), but no "
            "model.safetensors.index.json that "
            "lists them",
        ),
        (
            {"config.json": None, "final/config.json": b"{}"},
            "acme/tiny has no config.json, but holds a folder with a model (final)",
        ),
        (
            {"tokenizer.model": POINTER},
            "acme/tiny: tokenizer.model is a Git LFS pointer, not the file itself",
        ),
        ({"LICENSE": POINTER}, "acme/tiny: LICENSE is a Git LFS pointer, not the file itself"),
        (
            {"model.safetensors": POINTER},
            "acme/tiny: model.safetensors is a Git LFS pointer, not the file itself",
        ),
        (
            {"config.json": json.dumps(LLAMA | {"pad_token_id": 64}).encode()},
            "config.json: pad_token_id is 64; 0 to 63 (the vocabulary has 64 tokens) or null is needed",
        ),
    ],
)
def test_a_repository_is_told_what_it_is_before_anything_large_is_fetched(
    hub: Hub, client: Client, tmp_path: Path, changes: dict[str, bytes | None], message: str
) -> None:
    write_model(tmp_path / "m")
    files = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    weights = files.pop("model.safetensors")
    if "LICENSE" in changes or "tokenizer.model" in changes:
        files["model.safetensors"] = weights
    hub.add_model("acme/tiny", {n: d for n, d in {**files, **changes}.items() if d is not None})
    told = client("model", id="acme/tiny")
    assert (told["family"], told["message"]) == ("SourceError", message)
    assert told["hint"]


def test_weights_under_another_name_are_looked_into_by_their_header(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    write_model(tmp_path / "m")
    files = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    files["tiny.safetensors"] = files.pop("model.safetensors")
    hub.add_model("acme/tiny", files)
    told = client("model", id="acme/tiny")
    assert (
        told["message"]
        == "acme/tiny has weights under another name than model.safetensors (tiny.safetensors)"
    )
    assert told["hint"] == "Download it, rename the file to model.safetensors, and name that folder."


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"AutoConfig": "acme/other--configuration.Own"},
            "acme/tiny: auto_map names code in another repository (`acme/other--configuration.Own`), "
            "which is not "
            "fetched",
        ),
        (
            {"AutoConfig": "modeling.Own", "AutoModel": "gone.Own"},
            "acme/tiny: auto_map names `gone.Own`, but there is no `gone.py`",
        ),
    ],
)
def test_code_that_would_not_be_found_is_told_where_it_is_to_run_and_else_does_no_harm(
    hub: Hub, client: Client, tmp_path: Path, named: dict[str, str], message: str
) -> None:
    add_model(hub, tmp_path / "m", config=LLAMA | {"auto_map": named})
    assert client("model", id="acme/tiny", trust_remote_code=True)["message"] == message
    assert client("model", id="acme/tiny")["layers"] == 14


def test_a_disk_without_room_is_found_before_the_download(hub: Hub, client: Client, tmp_path: Path) -> None:
    add_model(hub, tmp_path / "m")
    hub.claimed["tokenizer.json"] = 10**15
    told = client("model", id="acme/tiny", fetched=True)
    assert told["message"].startswith("acme/tiny needs 1000.0 TB more on disk; ")
    assert told["hint"] == "Free some space, or set HF_HOME to a larger disk."
    assert hub.sent("chat_template.jinja") == 0


def test_what_a_data_sets_library_says_is_told_without_what_looks_like_a_token(
    hub: Hub, client: Client
) -> None:
    add_dataset(hub)
    token = "hf_" + "a" * 34
    told = client("texts", dataset="acme/news", split=token)
    assert told["message"].startswith("data set acme/news cannot be read: ")
    assert token not in told["message"] + told["hint"]


ROWS = [{"text": "one", "n": 1}, {"text": None, "n": 2}, {"text": "three", "n": 3}]


def add_dataset(hub: Hub) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    hub.add_dataset("acme/news", {"train.jsonl": lines, "README.md": b"# News\n"})


def test_a_data_set_is_streamed_at_one_commit(hub: Hub, client: Client) -> None:
    add_dataset(hub)
    assert client("texts", dataset="acme/news") == {
        "texts": ["one", "three"],
        "source": "acme/news (train)",
        "dataset": "acme/news",
        "revision": hub.repositories["datasets/acme/news"].head,
        "notes": [],
        "parts": [],
    }


def test_a_data_set_is_read_at_the_commit_that_was_looked_up(hub: Hub, client: Client) -> None:
    """Though its branch has moved on since."""
    add_dataset(hub)
    repository = hub.repositories["datasets/acme/news"]
    old = repository.head
    repository.add_files({"train.jsonl": b'{"text": "new"}\n'})
    told = client("texts", dataset="acme/news", commit=old)
    assert (told["texts"], told["revision"]) == (["one", "three"], old)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"dataset": "acme/gone"}, "data set acme/gone does not exist on the Hub, or is private"),
        ({"dataset": "acme/news", "column": "body"}, "data set acme/news, row 1 has no column 'body'"),
        (
            {"dataset": "acme/news", "column": "n"},
            "data set acme/news, row 1: column 'n' holds int, not text",
        ),
        ({"dataset": "acme/news", "revision": "v9"}, "data set acme/news has no revision 'v9'"),
        ({"dataset": "acme/news", "split": "nowhere"}, "data set acme/news cannot be read: "),
        ({"dataset": "acme/news", "config": "odd"}, "data set acme/news cannot be read: "),
    ],
)
def test_a_data_set_that_cannot_be_used_says_why_and_what_else_works(
    hub: Hub, client: Client, spec: dict[str, Any], message: str
) -> None:
    add_dataset(hub)
    told = client("texts", **spec)
    assert told["family"] == "CalibrationError"
    assert told["message"].startswith(message)
    if "column" not in spec:
        assert "`files: [calibration/*.txt]` or `texts:" in told["hint"]
