"""Discussions and pull requests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.support.hub.reading import stamp
from tests.support.hub.state import Hub
from tests.support.hub.store import Blob, Discussion, Repository
from tests.support.hub.web import HubError, Request, Response, answer

_PAGE = 50


def open_discussion(
    repository: Repository,
    title: str,
    text: str,
    author: str,
    *,
    base: str | None = None,
    draft: bool = False,
) -> Discussion:
    """A new one; a pull request where it has a base."""
    opened = Discussion(
        number=len(repository.discussions) + 1,
        title=title,
        author=author,
        base=base,
        status="draft" if draft else "open",
    )
    _happened(opened, "comment", author, {"latest": {"raw": text, "html": text}})
    repository.discussions.append(opened)
    if base is not None:
        repository.move(opened.ref, base)
    return opened


def list_discussions(hub: Hub, request: Request, kind: str, name: str) -> Response:
    repository, query = hub.get(request, kind, name), request.query
    wanted = query.get("type", ["all"])[0]
    status = query.get("status", ["all"])[0]
    found = [
        one
        for one in reversed(repository.discussions)
        if (wanted == "all" or (one.base is not None) == (wanted == "pull_request"))
        and (status == "all" or (one.status in ("open", "draft")) == (status == "open"))
        and query.get("author", [one.author]) == [one.author]
    ]
    start = int(query.get("p", ["0"])[0]) * _PAGE
    listed = [_told(repository, one) for one in found[start : start + _PAGE]]
    return answer({"discussions": listed, "count": len(found), "start": start})


def create_discussion(hub: Hub, request: Request, kind: str, name: str) -> Response:
    repository, given = hub.get(request, kind, name), request.json()
    token = hub.check_write(repository, hub.caller(request), proposal=True)
    base = repository.head if given.get("pullRequest") else None
    opened = open_discussion(
        repository, given["title"], given["description"], token.user, base=base, draft=bool(base)
    )
    return answer({"num": opened.number, "pullRequest": base is not None})


def get_discussion(hub: Hub, request: Request, kind: str, name: str, number: str) -> Response:
    repository = hub.get(request, kind, name)
    one = _find(repository, number)
    told = _told(repository, one) | {"events": one.events}
    if one.base is not None:
        changes = {"base": "refs/heads/main"} | ({"mergeCommitId": one.merged} if one.merged else {})
        told |= {"changes": changes, "filesWithConflicts": _conflicts(repository, one), "diff": ""}
    return answer(told)


def change_status(hub: Hub, request: Request, kind: str, name: str, number: str) -> Response:
    repository, given = hub.get(request, kind, name), request.json()
    token = hub.check_write(repository, hub.caller(request))
    one = _find(repository, number)
    one.status = given["status"]
    event = _happened(one, "status-change", token.user, {"status": one.status})
    return answer({"newStatus": event})


def add_comment(hub: Hub, request: Request, kind: str, name: str, number: str) -> Response:
    repository, text = hub.get(request, kind, name), request.json()["comment"]
    token = hub.check_write(repository, hub.caller(request), proposal=True)
    one = _find(repository, number)
    return answer(
        {"newMessage": _happened(one, "comment", token.user, {"latest": {"raw": text, "html": text}})}
    )


def merge_discussion(hub: Hub, request: Request, kind: str, name: str, number: str) -> Response:
    repository = hub.get(request, kind, name)
    token = hub.check_write(repository, hub.caller(request))
    one = _find(repository, number)
    if one.base is None or one.status != "open":
        # docs hub/repositories-pull-requests-discussions: a draft has to be published first.
        raise HubError(400, "This is no open pull request")
    if _conflicts(repository, one):
        raise HubError(409, "This pull request has conflicts")
    files = dict(repository.commits[repository.head].files)
    for path, blob in _changes(repository, one).items():
        if blob is None:
            files.pop(path, None)
        else:
            files[path] = blob
    commit = repository.add_commit(
        files,
        parent=repository.head,
        title=f"{one.title} (#{one.number})",
        author=token.user,
        request=request.number,
    )
    one.merged, one.status = commit.id, "merged"
    _happened(one, "status-change", token.user, {"status": "merged"})
    return answer({})


def _find(repository: Repository, number: str) -> Discussion:
    if not 0 < int(number) <= len(repository.discussions):
        raise HubError(404, f"No discussion {number}")
    return repository.discussions[int(number) - 1]


def _changes(repository: Repository, one: Discussion) -> dict[str, Blob | None]:
    """What a pull request changes: path → the new content, or None."""
    assert one.base is not None
    base, head = repository.commits[one.base].files, repository.commits[repository.refs[one.ref]].files
    return {path: head.get(path) for path in {*base, *head} if base.get(path) != head.get(path)}


def _conflicts(repository: Repository, one: Discussion) -> list[str]:
    assert one.base is not None
    base, main = repository.commits[one.base].files, repository.commits[repository.head].files
    if one.merged:
        return []
    return sorted(
        path
        for path, blob in _changes(repository, one).items()
        if base.get(path) != main.get(path) and main.get(path) != blob
    )


def _told(repository: Repository, one: Discussion) -> dict[str, Any]:
    """The keys: huggingface_hub.hf_api.get_repo_discussions."""
    return {
        "num": one.number,
        "title": one.title,
        "author": {"name": one.author},
        "createdAt": one.events[0]["createdAt"],
        "status": one.status,
        "isPullRequest": one.base is not None,
        "repo": {"name": repository.name, "type": repository.kind[:-1]},
    }


def _happened(one: Discussion, kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
    """An event, with the keys of huggingface_hub.community.deserialize_event."""
    now = stamp(datetime.now(UTC))
    event: dict[str, Any] = {
        "id": f"{one.number}-{len(one.events)}",
        "type": kind,
        "createdAt": now,
        "author": {"name": author},
        "data": {"edited": False, "hidden": False, **data},
    }
    if "latest" in data:
        event["data"]["latest"] |= {"updatedAt": now, "author": {"name": author}}
    one.events.append(event)
    return event
