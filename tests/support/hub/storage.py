"""What a repository stores, and how it gets less. The source of each route: `tests.support.hub.routes`."""

from __future__ import annotations

from tests.support.hub.reading import page, stamp
from tests.support.hub.repositories import writable
from tests.support.hub.state import Hub
from tests.support.hub.web import HubError, Request, Response, answer


def squash(hub: Hub, request: Request, kind: str, name: str, branch: str) -> Response:
    """Put one commit in the place of a branch's history; the commits before are nobody's then."""
    repository = writable(hub, request, kind, name)
    ref = f"refs/heads/{branch}"
    if ref not in repository.refs:
        raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
    head = repository.commits[repository.refs[ref]]
    title = request.json().get("message") or "Super-squash"
    repository.add_commit(head.files, ref=ref, parent=None, title=title, request=request.number)
    kept = {commit.id for start in repository.refs.values() for commit in repository.log(start)}
    repository.commits = {key: commit for key, commit in repository.commits.items() if key in kept}
    return answer({})


def list_lfs_files(hub: Hub, request: Request, kind: str, name: str) -> Response:
    """The keys: huggingface_hub.hf_api.LFSFileInfo."""
    repository = writable(hub, request, kind, name)
    names = {
        blob.sha256: path
        for commit in repository.commits.values()
        for path, blob in commit.files.items()
        if blob.lfs
    }
    listed = [
        {
            "fileOid": oid,
            "filename": names.get(oid, ""),
            "oid": oid,
            "pushedAt": stamp(repository.created),
            "ref": None,
            "size": len(data),
        }
        for oid, data in sorted(repository.objects.items())
    ]
    return page(hub, request, listed, hub.page_size)


def delete_lfs_files(hub: Hub, request: Request, kind: str, name: str) -> Response:
    """Remove objects; a commit that names one of them cannot be read any more."""
    repository = writable(hub, request, kind, name)
    deletions = request.json()["deletions"]
    if deletions["rewriteHistory"]:
        raise HubError(400, "Rewriting the history is not known here")
    for oid in deletions["sha"]:
        repository.objects.pop(oid, None)
    return answer({})
