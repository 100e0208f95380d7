"""Keeps one issue about a manifest's runs: opened or updated where one fails, closed when all is well again.

It is found by a mark in its text, among the issues that workflows of this repository opened themselves:
anybody could write the mark into an issue of their own. Standard library only.

    python tools/action/issue.py    everything comes from the environment; see `issue` in quantize.yml

https://docs.github.com/rest/issues/issues
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.action.github import annotate, read_event
from tools.action.inputs import from_fork

AUTHOR = "github-actions[bot]"
"""Who a workflow's own token is."""
_CELL = re.compile(r"[A-Za-z0-9._-]+")
_PAGE = 100
_SECONDS = 30
_SHOWN_CELLS = 100


class Repository:
    """The issues of the calling repository.

    Args:
        environ: of a step, with GITHUB_TOKEN.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._base = f"{environ['GITHUB_API_URL']}/repos/{environ['GITHUB_REPOSITORY']}/issues"
        self._headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {environ['GITHUB_TOKEN']}",
            "Content-Type": "application/json",
            "User-Agent": "model-quantizer",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    def find(self, mark: str) -> int | None:
        """The number of the open issue with the mark."""
        page = 1
        while True:
            found = self._call("GET", f"?state=open&per_page={_PAGE}&page={page}")
            for issue in found:
                if (
                    mark in (issue["body"] or "")
                    and (issue["user"] or {}).get("login") == AUTHOR
                    and "pull_request" not in issue
                ):
                    return int(issue["number"])
            if len(found) < _PAGE:
                return None
            page += 1

    def open(self, title: str, body: str) -> int:
        """Open one; its number."""
        return int(self._call("POST", "", {"title": title, "body": body})["number"])

    def update(self, number: int, **words: str) -> None:
        """Change title, text or state."""
        self._call("PATCH", f"/{number}", words)

    def comment(self, number: int, body: str) -> None:
        """Say something below it."""
        self._call("POST", f"/{number}/comments", {"body": body})

    def _call(self, method: str, path: str, words: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            self._base + path,
            data=None if words is None else json.dumps(words).encode(),
            headers=self._headers,
            method=method,
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:
            return json.load(response)


def settle(repository: Repository, environ: Mapping[str, str]) -> str:
    """Open, update or close the issue; what was done, in words."""
    manifest = environ["MANIFEST"]
    mark = f"<!-- model-quantizer: {hashlib.sha256(manifest.encode()).hexdigest()[:16]} -->"
    run = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(environ)
    number = repository.find(mark)
    if "failure" not in environ["RESULTS"].split():
        if number is None:
            return "All is well, and there is no issue to close."
        repository.comment(number, f"All is well again: {run}")
        repository.update(number, state="closed", state_reason="completed")
        return f"All is well again: issue #{number} is closed."
    title, body = text_of(manifest, run, mark, environ)
    if number is None:
        return f"Issue #{repository.open(title, body)} is opened."
    repository.update(number, title=title, body=body)
    return f"Issue #{number} is updated."


def text_of(manifest: str, run: str, mark: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Title and text: counts and ids only, as an error may quote anybody; the errors are in the summary."""
    failed = [cell for cell in environ["FAILED"].split() if _CELL.fullmatch(cell)]
    counts = json.loads(environ["COUNTS"] or "{}")
    total = sum(counts.values())
    shown = "".join(char for char in manifest if char.isprintable() and char != "`")
    what = f"{len(failed)} of {total} cells failed" if failed else "the last run failed"
    lines = [
        f"The last run of `{shown}` failed: {run}",
        "",
        *([", ".join(f"{count} {status}" for status, count in counts.items() if count), ""] if total else []),
        *(f"- `{cell}`" for cell in failed[:_SHOWN_CELLS]),
        *([f"- and {len(failed) - _SHOWN_CELLS} more"] if len(failed) > _SHOWN_CELLS else []),
        "",
        "The errors are in the run's summary. This issue is closed when all is well again.",
        "",
        mark,
    ]
    return f"Model Quantizer: {what} (`{shown}`)", "\n".join(lines)


def main() -> int:
    """Settle the issue; the exit code."""
    if from_fork(read_event(os.environ), os.environ["GITHUB_REPOSITORY"]):
        annotate("notice", "This is a pull request of a fork: no issue is opened.")
        return 0
    try:
        print(settle(Repository(os.environ), os.environ))
    except urllib.error.HTTPError as error:
        hint = " Grant the calling job `issues: write`." if error.code in (403, 404) else ""
        if error.code == 410:
            hint = " Issues are switched off in this repository."
        annotate("error", f"The issue could not be kept: GitHub answered {error.code}.{hint}")
        return 1
    except (OSError, ValueError) as error:
        annotate("error", f"The issue could not be kept: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
