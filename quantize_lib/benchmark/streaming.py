"""Times a server that runs already, by the tokens that it streams; run in a fresh process.

`python -m quantize_lib.benchmark.streaming QUESTION.json ANSWER.json`, both files of `asking`. The prompts
are token ids, of the model's own tokenizer as for the loader, and each is a request of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from quantize_lib.benchmark.machine import processor
from quantize_lib.benchmark.servers import Server, get_server
from quantize_lib.benchmark.servers.entry import HOST
from quantize_lib.benchmark.session import Run, Session, clock
from quantize_lib.devices import DeviceName, choose_device
from quantize_lib.text import plain

_SILENCE_SECONDS = 1800.0
"""After which a server that says nothing is given up."""
_LINE_CHARACTERS = 300
_MOST_BYTES = 1 << 20
"""Of a line of a stream, or of an answer that refuses."""


class _ServedModel(Session):
    """A model behind a port."""

    def __init__(self, question: dict[str, Any], answer_file: Path) -> None:
        super().__init__(question, answer_file)
        self._server: Server = get_server(question["server"])

    def measure(self) -> None:
        """See `Session`."""
        # Where there is a choice, the server's own is not known.
        if self._on_cpu():
            self.say(device="cpu", device_name=processor())
        self.read_prompts(Path(self.question["folder"]))
        self.measure_cases()

    def _on_cpu(self) -> bool:
        asked: DeviceName = self.question["device"]
        if asked == "cpu":
            # A tokenizer needs no torch, whose import takes longer than all the rest.
            sys.modules["torch"] = None  # type: ignore[assignment]
            return True
        return choose_device(asked).type == "cpu"

    def generate(self, rows: list[list[int]], new_tokens: int) -> Run:
        """In as many requests as there are prompts, all at once, the likeliest token each time."""
        with ThreadPoolExecutor(len(rows)) as pool:
            started = clock()
            arrivals = list(pool.map(lambda row: self._continued(row, new_tokens), rows))
        return Run(started=started, arrivals=arrivals)

    def _continued(self, row: list[int], new_tokens: int) -> list[tuple[float, int]]:
        body = {
            "model": self.question["model"],
            "prompt": row,
            "max_tokens": new_tokens,
            "temperature": 0,
            "stream": True,
            **self._server.request(new_tokens),
        }
        headers = {
            "Authorization": f"Bearer {self.question['key']}",
            "Content-Type": "application/json",
        }
        with closing(HTTPConnection(HOST, self.question["port"], timeout=_SILENCE_SECONDS)) as connection:
            connection.request("POST", "/v1/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"the server answered {answer.status}: {_refusal(answer)}")
            arrivals = list(token_times(pieces(answer)))
        made = arrivals[-1][1] if arrivals else 0
        if made != new_tokens:
            raise RuntimeError(f"it generated {made} tokens, not {new_tokens}")
        return arrivals


def pieces(stream: HTTPResponse) -> Iterator[dict[str, Any]]:
    """What a server sends of an answer, piece by piece (server-sent events), until it says that it is done.

    Raises:
        RuntimeError: where a piece is an error, or none at all.
    """
    while line := stream.readline(_MOST_BYTES):
        kind, _, data = line.decode("utf-8", errors="replace").strip().partition(":")
        if kind != "data":
            continue
        if data.strip() == "[DONE]":
            return
        try:
            piece = json.loads(data)
        except ValueError:
            piece = None
        if not isinstance(piece, dict):
            raise RuntimeError(f"the server sent what is no piece of an answer: {_line(data)}")
        if piece.get("error"):
            raise RuntimeError(f"the server ended the answer: {_message(piece)}")
        yield piece


def token_times(answer: Iterable[dict[str, Any]]) -> Iterator[tuple[float, int]]:
    """When tokens were there, and how many of them by then.

    Every piece tells the number: a server that has no word for that is none that can be timed.
    """
    made = 0
    for piece in answer:
        at = clock()
        by_then = _told(piece)
        if by_then > made:
            made = by_then
            yield at, made


def _told(piece: dict[str, Any]) -> int:
    """Nothing where it does not tell, as the last piece may."""
    for part, key in (("usage", "completion_tokens"), ("timings", "predicted_n")):
        told = piece.get(part)
        if isinstance(told, dict) and isinstance(count := told.get(key), int):
            return count
    return 0


def _refusal(answer: HTTPResponse) -> str:
    text = answer.read(_MOST_BYTES).decode("utf-8", errors="replace")
    with suppress(ValueError):
        if isinstance(whole := json.loads(text), dict):
            return _message(whole)
    return _line(text)


def _message(answer: dict[str, Any]) -> str:
    """What servers say of an error: at the top, or under `error`."""
    error = answer.get("error", answer)
    said = error.get("message", error) if isinstance(error, dict) else error
    return _line(str(said))


def _line(text: str) -> str:
    return plain(text)[:_LINE_CHARACTERS]


if __name__ == "__main__":
    sys.exit(_ServedModel.main(sys.argv[1:]))
