"""From a file to a commit: preupload, the LFS protocol, the commit itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

from tests.support.hub.cards import front_matter
from tests.support.hub.discussions import open_discussion
from tests.support.hub.reading import check_signed, find
from tests.support.hub.state import Hub
from tests.support.hub.store import LARGEST_REGULAR, Blob, Repository, is_lfs, is_pull_request
from tests.support.hub.web import HubError, Request, Response, answer


def preupload(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Response:
    """Whether each file is to be a regular one or in LFS, and which version the Hub has of it."""
    repository = hub.get(request, kind, name)
    hub.check_write(repository, hub.caller(request), proposal=request.flag("create_pr"))
    files = find(repository, revision).files
    attributes = files[".gitattributes"].data if ".gitattributes" in files else b""
    given = request.json()
    ignored = given.get("gitIgnore")
    if ignored is None:
        ignored = files[".gitignore"].data.decode() if ".gitignore" in files else ""
    told = []
    for file in given["files"]:
        path, size = file["path"], file["size"]
        lfs = size > hub.lfs_from or is_lfs(path, base64.b64decode(file["sample"]), attributes, size=size)
        blob = files.get(path)
        told.append(
            {
                "path": path,
                "uploadMode": "lfs" if lfs else "regular",
                "shouldIgnore": any(fnmatch(path, line) for line in ignored.splitlines() if line),
                "oid": None if blob is None else blob.sha256 if blob.lfs else blob.oid,
            }
        )
    return answer({"files": told, "commitOid": find(repository, revision).id})


def lfs_batch(hub: Hub, request: Request, kind: str, name: str) -> Response:
    """Where to upload what is not there yet (https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md)."""
    repository = hub.get(request, kind, name)
    hub.check_write(repository, hub.caller(request))
    given = request.json()
    if given.get("operation") != "upload" or given.get("hash_algo", "sha256") != "sha256":
        raise HubError(422, "Only uploads with sha256 are known here")
    prefix = "datasets/" if repository.kind == "datasets" else ""
    verify = {"href": f"{hub.endpoint}/{prefix}{repository.name}.git/info/lfs/objects/verify"}
    objects, transfer = [], "basic"
    for wanted in given["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        told: dict[str, Any] = {"oid": oid, "size": size}
        if oid not in repository.objects:
            upload, parts = _place(hub, repository, oid, size, "multipart" in given.get("transfers", []))
            transfer = "multipart" if parts else transfer
            told |= {"authenticated": True, "actions": {"upload": upload, "verify": verify}}
        objects.append(told)
    return answer({"transfer": transfer, "objects": objects})


def _place(
    hub: Hub, repository: Repository, oid: str, size: int, multipart: bool
) -> tuple[dict[str, Any], bool]:
    place = f"/{repository.kind}/{repository.name}/{oid}"
    if not multipart or size <= hub.parts_from:
        return {"href": f"{hub.storage}/upload{place}?Signature={hub.sign(place)}", "header": {}}, False
    header = {"chunk_size": str(hub.part_size)}
    for number in range(1, -(-size // hub.part_size) + 1):
        part = f"{place}/{number}"
        header[f"{number:05d}"] = f"{hub.storage}/upload{part}?Signature={hub.sign(part)}"
    href = f"{hub.endpoint}/api/complete_multipart{place}?Signature={hub.sign(place)}"
    return {"href": href, "header": header}, True


def put_object(
    hub: Hub, request: Request, kind: str, name: str, oid: str, number: str | None = None
) -> Response:
    """Into the storage, as to S3: the address is signed, the length is known, the answer carries the hash."""
    place = f"/{kind}/{name}/{oid}" + (f"/{number}" if number else "")
    check_signed(hub, request, place)
    if "content-length" not in request.headers:
        raise HubError(411, "MissingContentLength")
    hub.repositories[f"{kind}/{name}"].staged[f"{oid}/{number}" if number else oid] = request.body
    digest = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
    return Response(headers={"ETag": f'"{digest}"'})


def complete_multipart(hub: Hub, request: Request, kind: str, name: str, oid: str) -> Response:
    """Put the parts together (huggingface_hub.lfs._upload_multi_part; signed, without a token)."""
    check_signed(hub, request, f"/{kind}/{name}/{oid}")
    repository, given = hub.repositories[f"{kind}/{name}"], request.json()
    data = b""
    for number, part in enumerate(given["parts"], start=1):
        body = repository.staged.get(f"{oid}/{number}")
        digest = "" if body is None else hashlib.md5(body, usedforsecurity=False).hexdigest()
        if body is None or part["partNumber"] != number or part["etag"].strip('"') != digest:
            raise HubError(400, "InvalidPart")
        data += body
    repository.staged[oid] = data
    return answer({})


def lfs_verify(hub: Hub, request: Request, kind: str, name: str) -> Response:
    """Take an uploaded object in, if it is what was announced."""
    repository, given = hub.get(request, kind, name), request.json()
    hub.check_write(repository, hub.caller(request))
    oid = given["oid"]
    data = repository.objects.get(oid, repository.staged.get(oid))
    if data is None:
        raise HubError(404, "Object does not exist")
    if len(data) != given["size"] or hashlib.sha256(data).hexdigest() != oid:
        del repository.staged[oid]
        raise HubError(400, "The uploaded object has another size or hash than announced")
    repository.objects[oid] = data
    repository.staged.pop(oid, None)
    return answer({})


def create_commit(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Response:
    """One commit of several operations, as NDJSON (huggingface_hub._commit_api._prepare_commit_payload)."""
    repository, token = hub.get(request, kind, name), hub.caller(request)
    proposal = request.flag("create_pr")
    token = hub.check_write(repository, token, proposal=proposal)
    lines = list(_lines(request.body))
    if not lines or lines[0]["key"] != "header":
        raise HubError(400, "The first line must be the header")
    header = lines[0]["value"]
    if not header.get("summary"):
        raise HubError(400, '"value.summary" is not allowed to be empty')
    branch = revision if is_pull_request(revision) else f"refs/heads/{revision}"
    if branch not in repository.refs:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    head = repository.refs[branch]
    if header.get("parentCommit", head) != head:
        # huggingface_hub's own test_create_commit_conflict has this status and text.
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repository.commits[head].files)
    for line in lines[1:]:
        _apply(repository, files, line["key"], line["value"])
    said: dict[str, Any] = {"success": True, "hookOutput": ""}
    prefix = "datasets/" if repository.kind == "datasets" else ""
    page = f"{hub.endpoint}/{prefix}{repository.name}"
    if proposal:
        opened = open_discussion(
            repository, header["summary"], header.get("description", ""), token.user, base=head
        )
        branch = opened.ref
        said["pullRequestUrl"] = f"{page}/discussions/{opened.number}"
    commit = repository.add_commit(
        files,
        ref=branch,
        parent=head,
        title=header["summary"],
        description=header.get("description", ""),
        author=token.user,
        request=request.number,
    )
    return answer({**said, "commitOid": commit.id, "commitUrl": f"{page}/commit/{commit.id}"})


def _lines(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.splitlines():
        try:
            read = json.loads(line)
        except ValueError:
            raise HubError(400, "Invalid NDJSON") from None
        if not isinstance(read, dict) or not {"key", "value"} <= read.keys():
            raise HubError(400, "Invalid NDJSON: a line needs a key and a value")
        yield read


def _apply(repository: Repository, files: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    parts = path.strip("/").split("/") if key == "deletedFolder" else path.split("/")
    if any(part in ("", ".", "..", ".git") for part in parts):
        raise HubError(400, f"Invalid path in repo: {path!r}")
    match key:
        case "file":
            files[path] = _regular(value)
        case "lfsFile":
            files[path] = _pointer(repository, value)
        case "deletedFile":
            if files.pop(path, None) is None:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        case "deletedFolder":
            inside = [name for name in files if name.startswith(path.strip("/") + "/")]
            if not inside:
                raise HubError(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")
            for name in inside:
                del files[name]
        case _:
            raise HubError(400, f"Unknown operation {key!r}")


def _regular(value: dict[str, Any]) -> Blob:
    if value.get("encoding") != "base64":
        raise HubError(400, "The content must be encoded in base64")
    try:
        data = base64.b64decode(value["content"], validate=True)
    except binascii.Error:
        raise HubError(400, f"{value['path']}: the content is no base64") from None
    if len(data) > LARGEST_REGULAR:
        raise HubError(400, "Your push was rejected because it contains files larger than 10 MiB.")
    if value["path"] == "README.md":
        problems = front_matter(data)[1]
        if problems:
            raise HubError(
                400, "Invalid metadata in README.md.", errors=[{"message": text} for text in problems]
            )
    return Blob(data)


def _pointer(repository: Repository, value: dict[str, Any]) -> Blob:
    oid = value.get("oid", "")
    if value.get("algo") != "sha256" or oid not in repository.objects:
        raise HubError(
            400,
            "Your push was rejected because an LFS pointer pointed to a file that does not exist. "
            f"Offending file: {value['path']}",
        )
    data = repository.objects[oid]
    if value.get("size", len(data)) != len(data):
        raise HubError(400, f"{value['path']}: the size is another one than the object's")
    return Blob(data, lfs=True)
