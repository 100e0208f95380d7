"""Servers that a benchmark measures through: which read what, how they are found, started and asked."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.benchmark.records import Subject, Through
from quantize_lib.benchmark.servers import SERVERS, Load, Server
from quantize_lib.benchmark.session import Run
from quantize_lib.benchmark.streaming import pieces, token_times
from quantize_lib.benchmark.through import LOADER, Ways, measured_through
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import UsageError
from quantize_lib.files import write_json
from quantize_lib.formats import FORMATS, Format
from quantize_lib.formats.served import LLAMA_CPP, SGLANG, VLLM

each_server = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
GGUF = {"quant_method": "gguf", "gguf_file": "tiny-Q4_K_M.gguf"}


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere" / "python"))


def subject(folder: Path, quantization: dict[str, Any] | None = None, *, base: str | None = None) -> Subject:
    """A model folder with a config, known by the folder's name."""
    found = {} if quantization is None else {"quantization_config": quantization}
    write_json(folder / "config.json", {"model_type": "llama", **found})
    return Subject(name=folder.name, folder=folder, kind="x", bits=None, size_bytes=1, base=base)


def program(folder: Path, server: str) -> Path:
    """An empty program of a server."""
    path = folder / SERVERS[server].program
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return path


def measured(*subjects: Subject, ways: Ways) -> tuple[list[tuple[str, str | None]], str]:
    """The names and bases of everything that is measured, and what was said."""
    said = io.StringIO()
    found = measured_through(subjects, ways, PlainReporter(said))
    return [(one.name, one.base) for one in found], said.getvalue()


def test_there_is_a_server_for_each_that_formats_name_and_no_other() -> None:
    named = {title for entry in FORMATS.values() for title in entry.servers}
    assert named == {server.title for server in SERVERS.values()} == {VLLM, SGLANG, LLAMA_CPP}


@each_server
def test_a_server_listens_on_the_loopback_address_alone_and_runs_no_foreign_code(server: Server) -> None:
    load = Load(path=Path("/m"), words=("--x",), positions=544, requests=4, device="cpu", port=8123)
    words = server.words(load)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--port") + 1] == "8123"
    assert {"/m", "--x"} <= set(words)
    assert not any("trust" in word for word in words)
    assert (server.key_variable is None) == bool(server.key_words("k"))


@each_server
def test_a_server_is_asked_for_exactly_so_many_tokens_and_to_count_them(server: Server) -> None:
    asked = server.request(7)
    assert asked["ignore_eos"] is True
    assert asked.get("timings_per_token") or asked["stream_options"]["continuous_usage_stats"]


def test_by_default_the_loader_measures_and_what_is_installed_and_reads_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = subject(tmp_path / "tiny")
    packed = subject(tmp_path / "packed", {"quant_method": "gptq", "bits": 4}, base="tiny")
    file = subject(tmp_path / "file", GGUF, base="tiny")
    assert measured(base, packed, file, ways=Ways()) == (
        [("tiny", None), ("packed", "tiny"), ("file", "tiny")],
        "Not installed, so that nothing is measured through it: vLLM (vllm), SGLang (sglang) and llama.cpp "
        "(llama-server)\n",
    )
    for name in ("vllm", "llama.cpp"):
        program(tmp_path / "bin", name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found, _ = measured(base, packed, file, ways=Ways())
    assert found == [
        ("tiny", None),
        ("tiny (vLLM)", None),
        ("packed", "tiny"),
        # Beside the base model through the same server, where that reads it.
        ("packed (vLLM)", "tiny (vLLM)"),
        ("file", "tiny"),
        ("file (llama.cpp)", "tiny"),
    ]


def test_only_what_was_asked_for_measures_and_what_it_does_not_read_is_left_out(tmp_path: Path) -> None:
    base, file = subject(tmp_path / "tiny"), subject(tmp_path / "file", GGUF, base="tiny")
    ways = Ways(names=["llama.cpp"], programs={"llama.cpp": program(tmp_path / "opt", "llama.cpp")})
    found, said = measured(base, file, ways=ways)
    assert found == [("file (llama.cpp)", None)]
    assert said == "warning: tiny is left out, as llama.cpp does not read it\n"
    assert measured(base, file, ways=Ways(names=[LOADER]))[0] == [("tiny", None), ("file", "tiny")]


def test_a_server_gets_the_file_and_the_words_that_the_format_says(tmp_path: Path) -> None:
    found = program(tmp_path, "llama.cpp")
    file = subject(tmp_path / "file", GGUF)
    (one,) = measured_through(
        [file], Ways(names=["llama.cpp"], programs={"llama.cpp": found}), PlainReporter(io.StringIO())
    )
    assert one.through == Through(
        server="llama.cpp", program=found, path=tmp_path / "file" / "tiny-Q4_K_M.gguf"
    )


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        (Ways(names=["vllm"]), "--through vllm: there is no program vllm on the PATH"),
        (Ways(programs={"vllm": Path("nowhere/vllm")}), "--server vllm: there is no program nowhere/vllm"),
        (
            Ways(names=["loader"], programs={"vllm": Path("/bin/true")}),
            "--server vllm: --through does not name it",
        ),
        (
            Ways(names=["llama.cpp"], programs={"llama.cpp": Path("/bin/true")}),
            "--through: there is nothing to measure",
        ),
    ],
)
def test_what_cannot_be_measured_through_is_refused(tmp_path: Path, ways: Ways, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        measured(subject(tmp_path / "tiny"), ways=ways)
    assert caught.value.message == message


@pytest.mark.parametrize("name", ["../tiny.gguf", "/etc/passwd", "a/b.gguf"])
def test_a_config_that_names_a_file_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    file = subject(tmp_path / "file", {**GGUF, "gguf_file": name})
    ways = Ways(programs={"llama.cpp": program(tmp_path, "llama.cpp")})
    with pytest.raises(UsageError, match="which is no file of the folder"):
        measured(file, ways=ways)


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "gptq", "bits": 4, "sym": True, "group_size": 128}, ()),
        ({"quant_method": "gptq", "bits": 3, "sym": True, "group_size": 128}, ("--dtype", "float16")),
        ({"quant_method": "gptq", "bits": 4, "sym": False, "group_size": 128}, ("--dtype", "float16")),
        ({"quant_method": "bitsandbytes"}, ("--quantization", "bitsandbytes")),
    ],
)
def test_a_server_is_told_what_it_does_not_find_in_a_config(
    quantization: dict[str, Any], words: tuple[str, ...]
) -> None:
    assert FORMATS[quantization["quant_method"]].served_words(quantization) == words


def test_a_base_model_is_read_by_the_servers_of_safetensors() -> None:
    assert Format.servers == (VLLM, SGLANG)


def test_the_first_token_is_that_of_the_last_prompt_and_the_speed_of_all_after_it() -> None:
    # One prompt is two tokens ahead when the other's first is there, at 3 s.
    ahead = [(1.0, 1), (2.0, 2), (3.0, 3), (4.0, 4)]
    behind = [(3.0, 1), (4.0, 2), (5.0, 3), (7.0, 4)]
    assert Run(started=0.5, arrivals=[ahead, behind]).figures() == (2.5, (1 + 3) / 4.0)


def test_requests_that_a_server_answers_one_after_the_other_are_no_faster_together() -> None:
    alone = [(1.0, 1), (2.0, 2), (3.0, 3)]
    after = [(time + 3, count) for time, count in alone]
    assert Run(started=0, arrivals=[alone]).figures()[1] == 1.0
    assert Run(started=0, arrivals=[alone, after]).figures() == (4.0, 1.0)


def test_tokens_that_all_come_at_once_have_no_speed() -> None:
    with pytest.raises(RuntimeError, match="all tokens came at once"):
        Run(started=0, arrivals=[[(1.0, 2)]]).figures()


@given(st.lists(st.integers(1, 5), min_size=2, max_size=30))
def test_every_token_is_counted_however_pieces_hold_them(sizes: list[int]) -> None:
    totals = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    answer: list[dict[str, Any]] = [{"usage": {"completion_tokens": total}} for total in totals]
    answer.insert(1, {"choices": [{"text": ""}], "usage": None})
    found = list(token_times(answer))
    assert [count for _, count in found] == totals
    assert all(before <= after for (before, _), (after, _) in pairwise(found))


class Stream:
    """An answer's lines."""

    def __init__(self, text: bytes) -> None:
        self._lines = io.BytesIO(text)

    def readline(self, limit: int) -> bytes:
        return self._lines.readline(limit)


def read(text: bytes) -> list[dict[str, Any]]:
    return list(pieces(Stream(text)))  # type: ignore[arg-type]


def test_an_answer_ends_where_the_server_says_so() -> None:
    assert read(b': a comment\n\nevent: x\ndata: {"a": 1}\n\ndata: [DONE]\n\ndata: {"a": 2}\n') == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'data: {"error": {"message": "out of memory"}}\n', "the server ended the answer: out of memory"),
        (b'data: {"error": "no"}\n', "the server ended the answer: no"),
        (b"data: [1]\n", r"the server sent what is no piece of an answer: \[1\]"),
        (b"data: {\n", r"the server sent what is no piece of an answer: \{"),
    ],
)
def test_what_a_server_says_in_an_answer_is_told(text: bytes, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        read(text)
