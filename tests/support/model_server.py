"""A program that answers as the servers of models do, for tests where none of them is installed.

It is given the words and the variables that llama.cpp's server is given, and generates no text. What it does
wrong is told by the name of the file that it reads: `fails`, `leaves`, `refuses`, `stays_short`, `hangs`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOAD_SECONDS = 0.2
TOKEN_SECONDS = 0.004
ENVIRONMENT_FILE = "environment.json"
"""Beside the file that it reads: the variables and words it was given, and the id of a process it started."""


def install(folder: Path, name: str = "llama-server") -> Path:
    """A program in a folder that runs this module with the tests' Python."""
    program = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    program.chmod(0o755)
    return program


class Handler(BaseHTTPRequestHandler):
    """`/health`, `/props` and `/v1/completions`, as llama.cpp answers."""

    started = time.monotonic()
    mode = ""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Whether it has loaded, and its version."""
        loaded = time.monotonic() - self.started > LOAD_SECONDS
        if self.path == "/health":
            self._answer(200 if loaded else 503, {"status": "ok" if loaded else "loading"})
        else:
            self._answer(200, {"build_info": "b0-test"})

    def do_POST(self) -> None:
        """Tokens, in pieces of one and of two."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {os.environ['LLAMA_API_KEY']}":
            self._answer(401, {"error": {"message": "Invalid API Key"}})
            return
        if self.mode == "leaves":
            os._exit(3)
        if self.mode == "refuses":
            self._answer(400, {"error": {"message": "the request exceeds the available context size"}})
            return
        assert all(isinstance(token, int) for token in asked["prompt"])
        assert asked["ignore_eos"]
        assert not asked["cache_prompt"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        tokens = asked["max_tokens"] - (self.mode == "stays_short")
        count = 0
        while count < tokens:
            time.sleep(TOKEN_SECONDS)
            count = min(tokens, count + 1 + count % 2)
            self._piece({"choices": [{"text": "a"}], "timings": {"predicted_n": count}})
        self._piece({"choices": [{"text": "", "finish_reason": "length"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def _piece(self, piece: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())
        self.wfile.flush()

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serve until it is ended."""
    parser = argparse.ArgumentParser()
    for word in ("--model", "--host", "--ctx-size", "--parallel", "--cache-ram", "--device"):
        parser.add_argument(word)
    parser.add_argument("--port", type=int)
    for flag in ("--kv-unified", "--no-webui", "--offline"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    model = Path(options.model)
    Handler.mode = model.stem
    child = subprocess.Popen(["sleep", "600"])
    (model.parent / ENVIRONMENT_FILE).write_text(
        json.dumps({"variables": dict(os.environ), "words": sys.argv[1:], "process": child.pid})
    )
    if Handler.mode == "fails":
        print("error loading model: it is damaged", file=sys.stderr, flush=True)
        sys.exit(1)
    Handler.started = float("inf") if Handler.mode == "hangs" else time.monotonic()
    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
