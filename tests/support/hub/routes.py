"""Which function answers what, and where the route is known from.

`client` is huggingface_hub 2.4.0 (module: function), `docs` a page of https://huggingface.co/docs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from tests.support.hub import (
    collections,
    discussions,
    identity,
    jobs,
    reading,
    repositories,
    storage,
    uploads,
)
from tests.support.hub.web import HubError, Request, Response


@dataclass(frozen=True, kw_only=True)
class Route:
    """One route.

    Attributes:
        method: of HTTP; GET answers HEAD as well.
        pattern: of the quoted path; its groups are the function's arguments.
        function: what answers.
        source: where the route is known from.
        site: the Hub itself or its storage.
    """

    method: str
    pattern: re.Pattern[str]
    function: Callable[..., Response]
    source: str
    site: Literal["hub", "storage"] = "hub"


_REPO = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)"
_OBJECT = r"/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})"
_REVISION = r"(?P<revision>[^/]+)"


def _route(
    method: str,
    pattern: str,
    function: Callable[..., Response],
    source: str,
    site: Literal["hub", "storage"] = "hub",
) -> Route:
    return Route(method=method, pattern=re.compile(pattern), function=function, source=source, site=site)


ROUTES = [
    _route("GET", "/api/whoami-v2", identity.whoami, "client hf_api: whoami"),
    _route(
        "GET", "/api/agent-harnesses", identity.agent_harnesses, "client utils/_detect_agent: _fetch_registry"
    ),
    _route("POST", "/api/validate-yaml", identity.validate_yaml, "client hf_api: _validate_yaml"),
    _route(
        "POST",
        "/oauth/token",
        identity.exchange_token,
        "client _oidc: exchange_oidc_token; docs hub/trusted-publishers",
    ),
    _route("GET", "/github/id-token", identity.id_token, "client _oidc: _get_github_oidc_token"),
    _route("GET", "/api/(?P<kind>models|datasets)", reading.list_repos, "client hf_api: list_models"),
    _route("GET", _REPO, reading.repo_info, "client hf_api: model_info"),
    _route("GET", f"{_REPO}/revision/{_REVISION}", reading.repo_info, "client hf_api: model_info"),
    _route(
        "GET",
        f"{_REPO}/tree/{_REVISION}(?:/(?P<folder>.+))?",
        reading.list_tree,
        "client hf_api: list_repo_tree",
    ),
    _route("POST", f"{_REPO}/paths-info/{_REVISION}", reading.paths_info, "client hf_api: get_paths_info"),
    _route("GET", f"{_REPO}/refs", reading.list_refs, "client hf_api: list_repo_refs"),
    _route("GET", f"{_REPO}/commits/{_REVISION}", reading.list_commits, "client hf_api: list_repo_commits"),
    _route(
        "GET", f"{_REPO}/auth-check(?:/(?P<write>write))?", reading.auth_check, "client hf_api: auth_check"
    ),
    _route(
        "GET",
        f"{_PAGE}/resolve/{_REVISION}/(?P<path>.+)",
        reading.get_file,
        "client file_download: hf_hub_url, get_hf_file_metadata",
    ),
    _route(
        "GET",
        f"/download{_OBJECT}",
        reading.get_object,
        "client file_download: http_get, at the address of the redirect",
        "storage",
    ),
    _route("POST", "/api/repos/create", repositories.create_repo, "client hf_api: create_repo"),
    _route("DELETE", "/api/repos/delete", repositories.delete_repo, "client hf_api: delete_repo"),
    _route(
        "POST",
        "/api/repos/move",
        repositories.move_repo,
        "client hf_api: move_repo; docs hub/repositories-settings",
    ),
    _route("PUT", f"{_REPO}/settings", repositories.update_settings, "client hf_api: update_repo_settings"),
    _route(
        "POST",
        f"{_REPO}/branch/(?P<branch>[^/]+)",
        repositories.create_branch,
        "client hf_api: create_branch",
    ),
    _route(
        "DELETE",
        f"{_REPO}/branch/(?P<branch>[^/]+)",
        repositories.delete_branch,
        "client hf_api: delete_branch",
    ),
    _route(
        "POST",
        f"{_REPO}/super-squash/(?P<branch>[^/]+)",
        storage.squash,
        "client hf_api: super_squash_history",
    ),
    _route("GET", f"{_REPO}/lfs-files", storage.list_lfs_files, "client hf_api: list_lfs_files"),
    _route(
        "POST",
        f"{_REPO}/lfs-files/batch",
        storage.delete_lfs_files,
        "client hf_api: permanently_delete_lfs_files; docs hub/storage-limits",
    ),
    _route("POST", f"{_REPO}/tag/{_REVISION}", repositories.create_tag, "client hf_api: create_tag"),
    _route("DELETE", f"{_REPO}/tag/(?P<tag>[^/]+)", repositories.delete_tag, "client hf_api: delete_tag"),
    _route(
        "POST", f"{_REPO}/preupload/{_REVISION}", uploads.preupload, "client _commit_api: _fetch_upload_modes"
    ),
    _route(
        "POST",
        f"{_REPO}/commit/{_REVISION}",
        uploads.create_commit,
        "client _commit_api: _send_commit, _prepare_commit_payload",
    ),
    _route(
        "POST", rf"{_PAGE}\.git/info/lfs/objects/batch", uploads.lfs_batch, "client lfs: post_lfs_batch_info"
    ),
    _route("POST", rf"{_PAGE}\.git/info/lfs/objects/verify", uploads.lfs_verify, "client lfs: lfs_upload"),
    _route(
        "PUT",
        f"/upload{_OBJECT}(?:/(?P<number>[0-9]+))?",
        uploads.put_object,
        "client lfs: _upload_single_part, _upload_parts_iteratively",
        "storage",
    ),
    _route(
        "POST",
        f"/api/complete_multipart{_OBJECT}",
        uploads.complete_multipart,
        "client lfs: _upload_multi_part",
    ),
    _route(
        "GET", f"{_REPO}/discussions", discussions.list_discussions, "client hf_api: get_repo_discussions"
    ),
    _route("POST", f"{_REPO}/discussions", discussions.create_discussion, "client hf_api: create_discussion"),
    _route(
        "GET",
        f"{_REPO}/discussions/(?P<number>[0-9]+)",
        discussions.get_discussion,
        "client hf_api: get_discussion_details",
    ),
    _route(
        "POST",
        f"{_REPO}/discussions/(?P<number>[0-9]+)/status",
        discussions.change_status,
        "client hf_api: change_discussion_status",
    ),
    _route(
        "POST",
        f"{_REPO}/discussions/(?P<number>[0-9]+)/comment",
        discussions.add_comment,
        "client hf_api: comment_discussion",
    ),
    _route(
        "POST",
        f"{_REPO}/discussions/(?P<number>[0-9]+)/merge",
        discussions.merge_discussion,
        "client hf_api: merge_pull_request",
    ),
    _route("GET", "/api/collections", collections.list_collections, "client hf_api: list_collections"),
    _route("POST", "/api/collections", collections.create_collection, "client hf_api: create_collection"),
    _route(
        "GET",
        "/api/collections/(?P<slug>[^/]+/[^/]+)",
        collections.get_collection,
        "client hf_api: get_collection",
    ),
    _route(
        "POST",
        "/api/collections/(?P<slug>[^/]+/[^/]+)/items",
        collections.add_collection_item,
        "client hf_api: add_collection_item",
    ),
    _route("POST", "/api/jobs/(?P<namespace>[^/]+)", jobs.run_job, "client hf_api: run_job"),
    _route(
        "GET",
        "/api/jobs/(?P<namespace>[^/]+)/(?P<identity>[^/]+)",
        jobs.inspect_job,
        "client hf_api: inspect_job",
    ),
    _route(
        "GET",
        "/api/buckets/(?P<name>[^/]+/[^/]+)/tree/(?P<prefix>.+)",
        jobs.bucket_tree,
        "client hf_api: list_bucket_tree",
    ),
]


def route(request: Request) -> tuple[Route, dict[str, str]]:
    """The route of a request, and its arguments.

    Raises:
        HubError: there is none.
    """
    method = "GET" if request.method == "HEAD" else request.method
    for one in ROUTES:
        if one.method == method and one.site == request.site:
            found = one.pattern.fullmatch(request.path)
            if found:
                groups = found.groupdict()
                if groups.get("kind", "") is None:
                    # A page's address without `datasets/` is a model's.
                    groups["kind"] = "models"
                return one, {name: unquote(text) for name, text in groups.items() if text is not None}
    raise HubError(404, "Sorry, we can't find the page you are looking for.")
