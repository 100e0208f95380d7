"""What is read: information, lists, files. The source of each route stands in `tests.support.hub.routes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from tests.support.hub.state import Hub
from tests.support.hub.store import Blob, Commit, Repository, git_oid
from tests.support.hub.web import HubError, Request, Response, answer


def repo_info(hub: Hub, request: Request, kind: str, name: str, revision: str = "main") -> Response:
    """`revision` is a branch, a tag, a pull request's ref or a commit."""
    repository = hub.get(request, kind, name)
    return answer(_info(hub, request, repository, find(repository, revision), full=True))


def list_repos(hub: Hub, request: Request, kind: str) -> Response:
    token = hub.caller(request)
    query = request.query
    author, search = query.get("author", [None])[0], query.get("search", [""])[0].lower()
    found = [
        repository
        for repository in hub.repositories.values()
        if repository.kind == kind
        and hub.sees(repository, token)
        and author in (None, repository.owner)
        and search in repository.name.lower()
    ]
    if "sort" in query:
        # The Hub sorts downwards alone.
        attribute = {"createdAt": "created"}.get(query["sort"][0])
        found.sort(key=lambda one: one.created if attribute else one.commits[one.head].date, reverse=True)
    listed = [_info(hub, request, one, one.commits[one.head], full=request.flag("full")) for one in found]
    return page(hub, request, listed, hub.page_size)


def _info(
    hub: Hub, request: Request, repository: Repository, commit: Commit, *, full: bool
) -> dict[str, Any]:
    """The keys: huggingface_hub.hf_api.ModelInfo and DatasetInfo."""
    query = request.query
    card = commit.card
    told: dict[str, Any] = {
        "_id": repository.commits[repository.log(commit.id)[-1].id].id[:24],
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.owner,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(commit),
        "createdAt": repository.created,
        "lastModified": commit.date,
    }
    if isinstance(card.get("library_name"), str):
        told["library_name"] = card["library_name"]
    if full:
        told["sha"] = commit.id
        told["siblings"] = [
            _sibling(hub, name, blob, request.flag("blobs")) for name, blob in commit.files.items()
        ]
    if (full or request.flag("cardData")) and card:
        told["cardData"] = card
    expand = [key for name in ("expand", "expand[]") for key in query.get(name, [])]
    if expand:
        told |= {"sha": commit.id, "cardData": card or None}
        told["siblings"] = [_sibling(hub, name, blob, False) for name, blob in commit.files.items()]
        kept = {"_id", "id", "modelId", *expand}
        told = {key: value for key, value in told.items() if key in kept}
    told["createdAt"] = stamp(repository.created)
    if "lastModified" in told:
        told["lastModified"] = stamp(commit.date)
    return told


def _tags(commit: Commit) -> list[str]:
    """The card's tags, and those that the Hub itself adds (docs hub/model-cards, hub/models-tags)."""
    card = commit.card
    tags = card.get("tags")
    told = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    if any(name.endswith(".safetensors") for name in commit.files):
        told.append("safetensors")
    if isinstance(card.get("base_model"), str):
        relation = card.get("base_model_relation", "finetune")
        told += [f"base_model:{card['base_model']}", f"base_model:{relation}:{card['base_model']}"]
    return told


def _sibling(hub: Hub, name: str, blob: Blob, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": name}
    size = hub.claimed.get(name, len(blob.data))
    told = {"rfilename": name, "size": size, "blobId": blob.oid}
    if blob.lfs:
        told["lfs"] = {"sha256": blob.sha256, "size": size, "pointerSize": len(blob.pointer)}
    return told


def list_tree(hub: Hub, request: Request, kind: str, name: str, revision: str, folder: str = "") -> Response:
    commit = find(hub.get(request, kind, name), revision)
    prefix = f"{folder.strip('/')}/" if folder else ""
    below = {path: blob for path, blob in sorted(commit.files.items()) if path.startswith(prefix)}
    if prefix and not below:
        raise HubError(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
    deep, expand = request.flag("recursive"), request.flag("expand")
    listed: dict[str, dict[str, Any]] = {}
    for path, blob in below.items():
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            if deep or depth == 1:
                parent = prefix + "/".join(parts[:depth])
                listed.setdefault(parent, _folder(commit, parent))
        if deep or len(parts) == 1:
            listed[path] = _file(hub, commit, path, blob, expand)
    return page(hub, request, list(listed.values()), min(hub.page_size, 50) if expand else hub.page_size)


def paths_info(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Response:
    commit = find(hub.get(request, kind, name), revision)
    if "json" in request.headers.get("content-type", ""):
        given = request.json()
        paths, expand = given["paths"], bool(given.get("expand"))
        paths = paths if isinstance(paths, list) else [paths]
    else:
        form = parse_qs(request.body.decode())
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    listed = []
    for path in paths:
        if path in commit.files:
            listed.append(_file(hub, commit, path, commit.files[path], expand))
        elif any(name.startswith(f"{path}/") for name in commit.files):
            listed.append(_folder(commit, path))
    return answer(listed)


def _file(hub: Hub, commit: Commit, path: str, blob: Blob, expand: bool) -> dict[str, Any]:
    """The keys: huggingface_hub.hf_api.RepoFile."""
    size = hub.claimed.get(path, len(blob.data))
    told: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": size, "path": path}
    if blob.lfs:
        told["lfs"] = {"oid": blob.sha256, "size": size, "pointerSize": len(blob.pointer)}
    if expand:
        told["lastCommit"] = {"id": commit.id, "title": commit.title, "date": stamp(commit.date)}
    return told


def _folder(commit: Commit, path: str) -> dict[str, Any]:
    content = "".join(
        f"{name}{blob.oid}" for name, blob in commit.files.items() if name.startswith(f"{path}/")
    )
    return {"type": "directory", "oid": git_oid("tree", content.encode()), "size": 0, "path": path}


def list_refs(hub: Hub, request: Request, kind: str, name: str) -> Response:
    repository = hub.get(request, kind, name)

    def named(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit}
            for ref, commit in repository.refs.items()
            if ref.startswith(prefix)
        ]

    told: dict[str, Any] = {
        "branches": named("refs/heads/"),
        "tags": named("refs/tags/"),
        "converts": named("refs/convert/"),
    }
    if request.flag("include_prs"):
        told["pullRequests"] = [{**one, "name": one["ref"]} for one in named("refs/pr/")]
    return answer(told)


def list_commits(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Response:
    repository = hub.get(request, kind, name)
    listed = [
        {
            "id": commit.id,
            "title": commit.title,
            "message": commit.description,
            "authors": [{"user": commit.author}],
            "date": stamp(commit.date),
        }
        for commit in repository.log(find(repository, revision).id)
    ]
    return page(hub, request, listed, min(hub.page_size, 50))


def get_file(hub: Hub, request: Request, kind: str, name: str, revision: str, path: str) -> Response:
    """A regular file itself; of an LFS file the way to the storage, with its size and hash."""
    repository = hub.get(request, kind, name)
    hub.check_files(repository, hub.caller(request))
    commit = find(repository, revision)
    blob = commit.files.get(path)
    headers = {"X-Repo-Commit": commit.id}
    if blob is None:
        error = HubError(404, "Entry not found", "EntryNotFound").response()
        error.headers |= headers
        return error
    if not blob.lfs:
        return content(hub, request, blob.data, headers | {"ETag": f'"{blob.oid}"'})
    place = f"/{repository.kind}/{repository.name}/{blob.sha256}"
    query = {"filename": path.rpartition("/")[2], "Signature": hub.sign(place)}
    headers |= {"X-Linked-Size": str(len(blob.data)), "X-Linked-ETag": f'"{blob.sha256}"'}
    location = f"{hub.storage}/download{quote(place)}?{urlencode(query)}"
    return Response(status=302, headers=headers | {"Location": location})


def get_object(hub: Hub, request: Request, kind: str, name: str, oid: str) -> Response:
    """From the storage; the address is signed, a token has no business here (it is another origin)."""
    check_signed(hub, request, f"/{kind}/{name}/{oid}")
    return content(hub, request, hub.repositories[f"{kind}/{name}"].objects[oid], {"ETag": f'"{oid}"'})


def check_signed(hub: Hub, request: Request, place: str) -> None:
    """Refuse an address that this Hub has not given out.

    Raises:
        HubError: or where a token is shown as well, which S3 refuses: "Only one auth mechanism allowed".
    """
    if "authorization" in request.headers:
        raise HubError(400, "Only one auth mechanism allowed")
    if request.query.get("Signature") != [hub.sign(place)]:
        raise HubError(403, "SignatureDoesNotMatch")


def content(hub: Hub, request: Request, data: bytes, headers: Mapping[str, str]) -> Response:
    """Bytes, or a range of them (RFC 9110, 14)."""
    told = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    asked = request.headers.get("range")
    if not asked or not hub.ranges:
        return Response(body=data, headers=told)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, len(data) - int(last))
    stop = min(int(last) + 1, len(data)) if last and first else len(data)
    if start >= len(data):
        return Response(status=416, headers=told | {"Content-Range": f"bytes */{len(data)}"})
    told["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return Response(status=206, body=data[start:stop], headers=told)


def auth_check(hub: Hub, request: Request, kind: str, name: str, write: str | None = None) -> Response:
    repository, token = hub.get(request, kind, name), hub.caller(request)
    if write:
        hub.check_write(repository, token)
    else:
        hub.check_files(repository, token)
    return answer({})


def find(repository: Repository, revision: str) -> Commit:
    """The commit of a revision.

    Raises:
        HubError: it has none of that name.
    """
    commit = repository.find(revision)
    if commit is None:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def page(hub: Hub, request: Request, listed: Iterable[object], size: int) -> Response:
    """One page; the next one is in the Link header (huggingface_hub/utils/_pagination.py)."""
    query = request.query
    whole = list(listed)
    limit = int(query.get("limit", [str(size)])[0])
    start = int(query.get("cursor", ["0"])[0])
    size = min(size, limit)
    told = answer(whole[start : start + size])
    if start + size < len(whole):
        following = urlencode({**query, "cursor": [str(start + size)]}, doseq=True)
        told.headers["Link"] = f'<{hub.endpoint}{request.path}?{following}>; rel="next"'
    return told


def stamp(date: Any) -> str:
    """As huggingface_hub.utils._datetime.parse_datetime reads it."""
    return f"{date:%Y-%m-%dT%H:%M:%S}.{date.microsecond // 1000:03d}Z"
