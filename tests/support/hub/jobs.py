"""Jobs, which end well at once, and the buckets that they mount."""

from __future__ import annotations

from typing import Any

from tests.support.hub.reading import page
from tests.support.hub.state import Hub
from tests.support.hub.web import HubError, Request, Response, answer


def run_job(hub: Hub, request: Request, namespace: str) -> Response:
    token = hub.caller(request)
    if token is None or token.user != namespace:
        raise HubError(403, "You cannot start jobs there")
    given = request.json()
    stage = "ERROR" if hub.failing_jobs in str(given["command"]) and hub.failing_jobs else "COMPLETED"
    job = {
        "id": f"{len(hub.jobs) + 1:024x}",
        "createdAt": "2026-11-01T00:00:00.000Z",
        "owner": {"id": "0" * 24, "name": namespace, "type": "user"},
        "status": {"stage": stage, "message": None},
        **{
            name: given.get(name) for name in ("dockerImage", "command", "arguments", "environment", "flavor")
        },
        "volumes": given.get("volumes"),
    }
    hub.jobs[job["id"]] = job
    return answer(job)


def inspect_job(hub: Hub, _request: Request, namespace: str, identity: str) -> Response:
    job = hub.jobs.get(identity)
    if job is None or job["owner"]["name"] != namespace:
        raise HubError(404, "There is no such job")
    return answer(job)


def bucket_tree(hub: Hub, request: Request, name: str, prefix: str) -> Response:
    found: list[dict[str, Any]] = [
        {"type": "file", "path": path, "size": 1, "xetHash": "0" * 64, "mtime": "2026-11-01T00:00:00.000Z"}
        for path in hub.buckets.get(name, ())
        if path.startswith(f"{prefix}/")
    ]
    return page(hub, request, found, hub.page_size)
