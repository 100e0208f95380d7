"""One issue follows the runs of a manifest; spoken to a GitHub API on the loopback address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.action_runner import EVENTS, ROOT, read_commands

TOKEN = "ghs_canary-of-the-workflow"
BOT = "github-actions[bot]"
COUNTS = json.dumps({"published": 3, "built": 0, "skipped": 1, "failed": 2, "gated": 0})


class Api(ThreadingHTTPServer):
    """Issues of acme/models, as https://docs.github.com/rest/issues/issues describes them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.issues: list[dict[str, Any]] = []
        self.comments: list[tuple[int, str]] = []
        self.requests: list[tuple[str, str]] = []
        self.may_write = True

    def add(self, body: str | None, *, login: str = BOT, state: str = "open", **more: Any) -> None:
        self.issues.append(
            {
                "number": len(self.issues) + 1,
                "title": "t",
                "body": body,
                "user": {"login": login},
                "state": state,
            }
            | more
        )


class Handler(BaseHTTPRequestHandler):
    server: Api

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, words: Any) -> None:
        body = json.dumps(words).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path))
        parts = urlsplit(self.path)
        words = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, {"message": "Bad credentials"})
        if not parts.path.startswith("/repos/acme/models/issues"):
            return self._answer(404, {"message": "Not Found"})
        rest = parts.path.removeprefix("/repos/acme/models/issues").strip("/").split("/")
        if self.command == "GET":
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            found = [one for one in reversed(self.server.issues) if one["state"] == query["state"]]
            start = (int(query["page"]) - 1) * int(query["per_page"])
            return self._answer(200, found[start : start + int(query["per_page"])])
        if not self.server.may_write:
            return self._answer(403, {"message": "Resource not accessible by integration"})
        if rest == [""]:
            self.server.add(words["body"], title=words["title"])
            return self._answer(201, self.server.issues[-1])
        if rest[1:] == ["comments"]:
            self.server.comments.append((int(rest[0]), words["body"]))
            return self._answer(201, {})
        self.server.issues[int(rest[0]) - 1].update(words)
        return self._answer(200, {})

    do_POST = do_GET  # noqa: N815
    do_PATCH = do_GET  # noqa: N815


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def issue(
    api: Api, *, results: str = "success failure failure", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the step as the workflow does."""
    environment = {
        **os.environ,
        "GITHUB_API_URL": f"http://127.0.0.1:{api.server_port}",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REPOSITORY": "acme/models",
        "GITHUB_RUN_ID": "77",
        "GITHUB_EVENT_PATH": str(EVENTS / "push.json"),
        "GITHUB_TOKEN": TOKEN,
        "MANIFEST": "quantize.yml",
        "RESULTS": results,
        "COUNTS": COUNTS,
        "FAILED": "m-gptq-4bit m-awq-4bit",
        "no_proxy": "127.0.0.1",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-Es", str(ROOT / "tools" / "action" / "issue.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert TOKEN not in done.stdout + done.stderr
    return done


def test_a_failure_opens_an_issue_that_names_the_cells_and_the_run(api: Api) -> None:
    done = issue(api)
    assert (done.returncode, done.stdout) == (0, "Issue #1 is opened.\n"), done.stderr
    (opened,) = api.issues
    assert opened["title"] == "Model Quantizer: 2 of 6 cells failed (`quantize.yml`)"
    assert "https://github.example/acme/models/actions/runs/77" in opened["body"]
    assert "3 published, 1 skipped, 2 failed" in opened["body"]
    assert "- `m-gptq-4bit`\n- `m-awq-4bit`\n" in opened["body"]


def test_the_next_failure_updates_the_same_issue(api: Api) -> None:
    issue(api)
    done = issue(api, FAILED="m-awq-4bit", GITHUB_RUN_ID="78")
    assert done.stdout == "Issue #1 is updated.\n"
    (kept,) = api.issues
    assert kept["title"].startswith("Model Quantizer: 1 of 6 cells failed")
    assert "runs/78" in kept["body"]
    assert "m-gptq-4bit" not in kept["body"]
    assert api.comments == []


def test_it_is_closed_when_all_is_well_and_a_later_failure_opens_another(api: Api) -> None:
    issue(api)
    assert issue(api, results="success success success").stdout == (
        "All is well again: issue #1 is closed.\n"
    )
    assert (api.issues[0]["state"], api.issues[0]["state_reason"]) == ("closed", "completed")
    assert api.comments == [(1, "All is well again: https://github.example/acme/models/actions/runs/77")]
    assert issue(api).stdout == "Issue #2 is opened.\n"


@pytest.mark.parametrize("results", ["success success success", "success skipped success"])
def test_all_well_from_the_start_writes_nothing(api: Api, results: str) -> None:
    assert issue(api, results=results).returncode == 0
    assert {method for method, _ in api.requests} == {"GET"}


def test_a_plan_that_failed_has_no_counts_and_is_told_too(api: Api) -> None:
    issue(api, results="failure skipped skipped", COUNTS="", FAILED="")
    assert api.issues[0]["title"] == "Model Quantizer: the last run failed (`quantize.yml`)"


def test_each_manifest_has_an_issue_of_its_own(api: Api) -> None:
    issue(api)
    issue(api, MANIFEST="other.yml")
    assert [one["state"] for one in api.issues] == ["open", "open"]
    issue(api, results="success success success")
    assert [one["state"] for one in api.issues] == ["closed", "open"]


def test_somebody_elses_issue_with_the_mark_is_left_alone(api: Api) -> None:
    issue(api)
    body = api.issues[0]["body"]
    api.issues.clear()
    api.add(body, login="mallory")
    api.add(body, pull_request={})
    api.add(None)
    assert issue(api).stdout == "Issue #4 is opened.\n"
    assert [one["title"] for one in api.issues[:3]] == ["t", "t", "t"]


def test_the_issue_is_found_among_hundreds(api: Api) -> None:
    issue(api)
    for _ in range(250):
        api.add("another", login="somebody")
    assert issue(api).stdout == "Issue #1 is updated.\n"


def test_hostile_words_stay_words(api: Api) -> None:
    issue(api, MANIFEST="a`b\n@everyone.yml", FAILED="m-awq-4bit @admin <script> ::error::x")
    (opened,) = api.issues
    assert opened["title"].endswith("cells failed (`ab@everyone.yml`)")
    for word in ("@admin", "<script>", "::error::"):
        assert word not in opened["body"]


def test_without_the_permission_it_says_which_one(api: Api) -> None:
    api.may_write = False
    done = issue(api)
    (command,) = read_commands(done.stdout)
    assert (done.returncode, command.name) == (1, "error")
    assert command.data.endswith("GitHub answered 403. Grant the calling job `issues: write`.")


def test_an_api_that_is_not_there_is_an_error_that_says_so(api: Api) -> None:
    done = issue(api, GITHUB_API_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "could not be kept" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_forks_pull_request_opens_none(api: Api) -> None:
    done = issue(api, GITHUB_EVENT_PATH=str(EVENTS / "pull_request_fork.json"))
    assert done.returncode == 0
    assert api.requests == []
