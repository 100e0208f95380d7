"""Collections."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from tests.support.hub.reading import page, stamp
from tests.support.hub.state import Hub
from tests.support.hub.store import Collection, Token
from tests.support.hub.web import HubError, Request, Response, answer


def list_collections(hub: Hub, request: Request) -> Response:
    token, owner = hub.caller(request), request.query.get("owner", [None])[0]
    found = [
        _told(one)
        for one in hub.collections.values()
        if owner in (None, one.owner) and _sees(hub, one, token)
    ]
    return page(hub, request, found, hub.page_size)


def get_collection(hub: Hub, request: Request, slug: str) -> Response:
    return answer(_told(_find(hub, slug, hub.caller(request))))


def create_collection(hub: Hub, request: Request) -> Response:
    given = request.json()
    owner, title = given["namespace"], given["title"]
    _writer(hub, hub.caller(request), owner)
    for one in hub.collections.values():
        if (one.owner, one.title) == (owner, title):
            # hf_api.create_collection reads the slug of this answer.
            raise HubError(409, f"This collection already exists: {one.slug}", slug=one.slug)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    made = Collection(
        slug=f"{owner}/{words}-{hub.sign(title)[:24]}",
        title=title,
        owner=owner,
        private=given.get("private", False),
        description=given.get("description"),
    )
    hub.collections[made.slug] = made
    return answer(_told(made))


def add_collection_item(hub: Hub, request: Request, slug: str) -> Response:
    token, given = hub.caller(request), request.json()
    one = _find(hub, slug, token)
    _writer(hub, token, one.owner)
    item = given["item"]
    repository = hub.repositories.get(f"{item['type']}s/{item['id']}")
    if repository is None or not hub.sees(repository, token):
        raise HubError(404, f"{item['id']} does not exist")
    if any((old["type"], old["id"]) == (item["type"], item["id"]) for old in one.items):
        raise HubError(409, f"{item['id']} is in the collection already")
    number = len(one.items)
    added = {
        "_id": hub.sign(f"{slug}{item['id']}")[:24],
        "id": item["id"],
        "type": item["type"],
        "position": number,
    }
    if "note" in given:
        added["note"] = {"text": given["note"]}
    one.items.append(added)
    return answer(_told(one))


def _find(hub: Hub, slug: str, token: Token | None) -> Collection:
    one = hub.collections.get(slug)
    if one is None or not _sees(hub, one, token):
        raise HubError(404, "Collection not found")
    return one


def _sees(hub: Hub, one: Collection, token: Token | None) -> bool:
    return not one.private or hub.member(token, one.owner, writes=False)


def _writer(hub: Hub, token: Token | None, owner: str) -> None:
    if token is None:
        raise HubError(401, "Invalid username or password.")
    if token.role != "write" or token.only is not None or not hub.member(token, owner, writes=True):
        raise HubError(403, "You don't have the required permissions to write to this collection.")


def _told(one: Collection) -> dict[str, Any]:
    """The keys: huggingface_hub.hf_api.Collection and CollectionItem."""
    return {
        "slug": one.slug,
        "title": one.title,
        "description": one.description,
        "owner": {"name": one.owner},
        "items": one.items,
        "lastUpdated": stamp(datetime.now(UTC)),
        "position": 0,
        "private": one.private,
        "theme": "indigo",
        "upvotes": 0,
    }
