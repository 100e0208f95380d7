"""Repositories as a whole: made, renamed, deleted, set; their branches and tags."""

from __future__ import annotations

import re

from tests.support.hub.reading import find
from tests.support.hub.state import Hub
from tests.support.hub.store import Kind, Repository
from tests.support.hub.web import HubError, Request, Response, answer

_NAME = re.compile(r"(?!-)(?!.*(--|\.\.))[\w.-]{1,96}(?<![-.])")
"""huggingface_hub/utils/_validators.py, REPO_ID_REGEX."""


def create_repo(hub: Hub, request: Request) -> Response:
    token, given = hub.caller(request), request.json()
    if token is None:
        raise HubError(401, "Invalid username or password.")
    kind: Kind = "datasets" if given.get("type") == "dataset" else "models"
    name = f"{given.get('organization') or token.user}/{given['name']}"
    if not _NAME.fullmatch(given["name"]):
        raise HubError(400, f"Invalid repository name {given['name']!r}")
    if token.only is not None:
        # hf_api.create_repo: "401 -> if JWT token without create repo scope".
        raise HubError(401, "Invalid username or password.")
    if token.role != "write" or not hub.member(token, name.partition("/")[0], writes=True):
        owner = name.partition("/")[0]
        raise HubError(
            403, f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{owner}"'
        )
    prefix = "datasets/" if kind == "datasets" else ""
    url = f"{hub.endpoint}/{prefix}{name}"
    if f"{kind}/{name}" in hub.repositories:
        raise HubError(409, f"You already created this {kind[:-1]} repo: {name}", url=url)
    visibility = given.get("visibility", "public")
    hub.add(kind, name, private=visibility == "private", request=request.number)
    return answer({"url": url, "name": name, "id": name})


def delete_repo(hub: Hub, request: Request) -> Response:
    token, given = hub.caller(request), request.json()
    owner = given.get("organization") or (token.user if token else "")
    kind = "datasets" if given.get("type") == "dataset" else "models"
    repository = hub.get(request, kind, f"{owner}/{given['name']}")
    hub.check_write(repository, token)
    del hub.repositories[repository.key]
    return answer({})


def move_repo(hub: Hub, request: Request) -> Response:
    given = request.json()
    repository = hub.get(request, f"{given['type']}s", given["fromRepo"])
    token = hub.check_write(repository, hub.caller(request))
    new = str(given["toRepo"])
    if not hub.member(token, new.partition("/")[0], writes=True):
        raise HubError(403, "You don't have the rights to move to this namespace")
    if f"{repository.kind}/{new}" in hub.repositories:
        raise HubError(409, f"{new} exists already")
    hub.rename(repository, new)
    return answer({})


def update_settings(hub: Hub, request: Request, kind: str, name: str) -> Response:
    repository, given = hub.get(request, kind, name), request.json()
    token = hub.check_write(repository, hub.caller(request))
    if token.job:
        # The docs of trusted publishers promise writing to the repository, and not this: the worse case.
        raise HubError(403, "Forbidden: this token cannot change settings.")
    if "visibility" in given:
        repository.private = given["visibility"] == "private"
    if "gated" in given:
        repository.gated = given["gated"]
    repository.note(request.number)
    return answer({"private": repository.private, "gated": repository.gated})


def create_branch(hub: Hub, request: Request, kind: str, name: str, branch: str) -> Response:
    repository = writable(hub, request, kind, name)
    if branch.startswith("refs/"):
        raise HubError(400, f"Invalid reference for a branch: {branch}")
    if f"refs/heads/{branch}" in repository.refs:
        raise HubError(409, f"Reference already exists: refs/heads/{branch}")
    start = find(repository, request.json().get("startingPoint") or "main")
    repository.move(f"refs/heads/{branch}", start.id, request=request.number)
    return answer({})


def delete_branch(hub: Hub, request: Request, kind: str, name: str, branch: str) -> Response:
    repository = writable(hub, request, kind, name)
    if branch == "main":
        raise HubError(403, "Cannot delete refs/heads/main")
    return _delete(repository, f"refs/heads/{branch}")


def create_tag(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Response:
    repository = writable(hub, request, kind, name)
    tag = request.json()["tag"]
    if f"refs/tags/{tag}" in repository.refs:
        raise HubError(409, f"Reference already exists: refs/tags/{tag}")
    repository.move(f"refs/tags/{tag}", find(repository, revision).id, request=request.number)
    return answer({})


def delete_tag(hub: Hub, request: Request, kind: str, name: str, tag: str) -> Response:
    return _delete(writable(hub, request, kind, name), f"refs/tags/{tag}")


def writable(hub: Hub, request: Request, kind: str, name: str) -> Repository:
    """The repository of a route that changes it."""
    repository = hub.get(request, kind, name)
    hub.check_write(repository, hub.caller(request))
    return repository


def _delete(repository: Repository, ref: str) -> Response:
    if repository.refs.pop(ref, None) is None:
        raise HubError(404, f"Reference not found: {ref}", "RevisionNotFound")
    return answer({})
