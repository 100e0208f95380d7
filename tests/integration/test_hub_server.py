"""The Hub of the tests takes from the genuine client what the Hub takes, and refuses what it refuses."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    get_session,
    hf_hub_download,
)
from huggingface_hub._oidc import oidc_login
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.support.hub import Hub, serve
from tests.support.hub.routes import ROUTES, Route

WEIGHTS = bytes(range(256)) * 1000
CARD = b"---\nlicense: mit\nmodel_quantizer:\n  fingerprint: abc\n---\n# Tiny\n"
FILES = {
    "README.md": CARD,
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "folder/notes.txt": b"notes",
    "empty.txt": b"",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub(parts_from=100_000, part_size=60_000, page_size=2)) as served:
        served.add_token("hf_writer", "acme")
        served.add_token("hf_reader", "acme", "read")
        served.add_token("hf_other", "other")
        yield served


@pytest.fixture
def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_writer")


def additions(files: dict[str, bytes]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]


def status(caught: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return caught.value.response.status_code


def commit(hub: Hub, *lines: dict[str, Any], token: str = "hf_writer") -> httpx2.Response:
    """A commit that the client would never send."""
    return get_session().post(
        f"{hub.endpoint}/api/models/acme/tiny/commit/main",
        content=b"\n".join(json.dumps(line).encode() for line in lines),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
    )


HEADER = {"key": "header", "value": {"summary": "m"}}


def pointer(data: bytes, size: int | None = None) -> dict[str, Any]:
    oid = hashlib.sha256(data).hexdigest()
    value = {"path": "x.bin", "algo": "sha256", "oid": oid, "size": len(data) if size is None else size}
    return {"key": "lfsFile", "value": value}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.function.__name__}")
def test_every_route_stands_on_a_function_of_the_client(route: Route) -> None:
    module, _, functions = route.source.partition(";")[0].removeprefix("client ").partition(": ")
    code = importlib.import_module("huggingface_hub." + module.replace("/", "."))
    for name in functions.partition(", at ")[0].split(", "):
        assert hasattr(code, name) or hasattr(HfApi, name), name


def test_what_was_committed_is_read_back_as_it_was(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    api.create_repo("acme/tiny", private=True)
    made = api.create_commit("acme/tiny", additions(FILES), commit_message="first")
    info = api.model_info("acme/tiny", files_metadata=True)
    assert info.card_data is not None
    assert info.card_data["model_quantizer"] == {"fingerprint": "abc"}
    assert (info.sha, info.private) == (made.oid, True)
    large = {file.rfilename: file.lfs.sha256 for file in info.siblings or () if file.lfs}
    assert large == {"model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}
    listed = {file.path for file in api.list_repo_tree("acme/tiny", recursive=True)}
    assert listed == {*FILES, ".gitattributes", "folder"}
    for name, data in FILES.items():
        path = hf_hub_download(
            "acme/tiny", name, endpoint=hub.endpoint, token="hf_reader", cache_dir=tmp_path / "cache"
        )
        assert Path(path).read_bytes() == data
    assert len(hub.asked("put_object")) == 5
    assert not any(
        "authorization" in request.headers for request in hub.requests if request.site == "storage"
    )


def test_a_commit_adds_copies_and_deletes_at_once(hub: Hub, api: HfApi) -> None:
    first = hub.add_model("acme/tiny", FILES).head
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        CommitOperationCopy("model.safetensors", "copy.safetensors"),
        CommitOperationCopy("config.json", "copy.json", src_revision=first),
        CommitOperationDelete("folder/"),
        CommitOperationDelete("empty.txt"),
        *additions({"new.txt": b"new"}),
    ]
    api.create_commit("acme/tiny", operations, commit_message="second", parent_commit=first)
    kept = {name: FILES[name] for name in ("README.md", "config.json", "model.safetensors")}
    copies = {"copy.safetensors": WEIGHTS, "copy.json": b"{}", "new.txt": b"new"}
    assert hub.model("acme/tiny").files == {**kept, **copies}
    assert [commit.title for commit in api.list_repo_commits("acme/tiny")] == ["second", "initial commit"]
    assert not hub.asked("put_object")


def test_a_commit_on_an_old_parent_is_refused(hub: Hub, api: HfApi) -> None:
    repository = hub.add_model("acme/tiny", FILES)
    old, new = repository.head, repository.add_files({"x.txt": b"x"})
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as caught:
        api.create_commit("acme/tiny", additions({"y": b"y"}), commit_message="m", parent_commit=old)
    assert (status(caught), repository.head) == (412, new)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], 400),
        ([{"key": "file", "value": {}}], 400),
        ([{"key": "header", "value": {"summary": ""}}], 400),
        ([HEADER, pointer(b"never uploaded")], 400),
        ([HEADER, pointer(WEIGHTS, size=1)], 400),
        ([HEADER, {"key": "file", "value": {"path": "a", "content": "%%", "encoding": "base64"}}], 400),
        ([HEADER, {"key": "file", "value": {"path": "../a", "content": "", "encoding": "base64"}}], 400),
        ([HEADER, {"key": "deletedFile", "value": {"path": "nothing"}}], 404),
        ([HEADER, {"key": "somethingElse", "value": {"path": "a"}}], 400),
    ],
)
def test_a_malformed_commit_is_refused_as_a_whole(hub: Hub, lines: list[dict[str, Any]], code: int) -> None:
    repository = hub.add_model("acme/tiny", FILES)
    head = repository.head
    assert commit(hub, *lines).status_code == code
    assert repository.head == head


@pytest.mark.parametrize(
    "card", [b"---\nlicense: [mit\n---\n", b"---\nlicense: no-such\n---\n", b"---\n- a\n---\n"]
)
def test_a_card_that_the_hub_cannot_read_is_refused(hub: Hub, api: HfApi, card: bytes) -> None:
    hub.add_model("acme/tiny", FILES)
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        api.create_commit("acme/tiny", additions({"README.md": card}), commit_message="m")
    content = base64.b64encode(card).decode()
    file = {"key": "file", "value": {"path": "README.md", "content": content, "encoding": "base64"}}
    assert commit(hub, HEADER, file).status_code == 400


def batch(hub: Hub, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha256(data).hexdigest()
    answered = get_session().post(
        f"{hub.endpoint}/acme/tiny.git/info/lfs/objects/batch",
        json={"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(data)}]},
        headers={"Authorization": "Bearer hf_writer"},
    )
    actions: dict[str, Any] = answered.json()["objects"][0].get("actions", {})
    return actions


def test_an_object_counts_when_it_is_whole_and_verified(hub: Hub) -> None:
    hub.add_model("acme/tiny", FILES)
    data = b"an object"
    actions = batch(hub, data)
    proof = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    session, key = get_session(), {"Authorization": "Bearer hf_writer"}
    put, verify = actions["upload"]["href"], actions["verify"]["href"]
    assert session.post(verify, json=proof, headers=key).status_code == 404
    assert session.put(put, content=b"another thing").status_code == 200
    assert session.post(verify, json=proof, headers=key).status_code == 400
    assert session.put(put, content=data).status_code == 200
    assert commit(hub, HEADER, pointer(data)).status_code == 400
    assert session.post(verify, json=proof, headers=key).status_code == 200
    assert batch(hub, data) == {}
    assert commit(hub, HEADER, pointer(data)).status_code == 200
    assert hub.model("acme/tiny").files["x.bin"] == data


def test_a_signed_address_is_for_one_object_and_takes_no_token(hub: Hub) -> None:
    hub.add_model("acme/tiny", FILES)
    put = batch(hub, b"an object")["upload"]["href"]
    other = put.replace(hashlib.sha256(b"an object").hexdigest(), "0" * 64)
    assert get_session().put(other, content=b"x").status_code == 403
    key = {"Authorization": "Bearer hf_writer"}
    assert get_session().put(put, content=b"an object", headers=key).status_code == 400


@pytest.mark.parametrize(
    ("token", "code"), [("hf_reader", 403), ("hf_other", 403), ("hf_unknown", 401), (False, 401)]
)
def test_only_who_may_write_writes(hub: Hub, token: str | bool, code: int) -> None:
    repository = hub.add_model("acme/tiny", FILES)
    head, api = repository.head, HfApi(endpoint=hub.endpoint, token=token)
    for attempt in (
        lambda: api.create_commit("acme/tiny", additions({"y": b"y"}), commit_message="m"),
        lambda: api.create_repo("acme/new"),
        lambda: api.update_repo_settings("acme/tiny", private=True),
        lambda: api.create_tag("acme/tiny", tag="v1"),
        lambda: api.move_repo("acme/tiny", "acme/new"),
        lambda: api.delete_repo("acme/tiny"),
        lambda: api.create_collection("Family", namespace="acme"),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            attempt()
        assert status(caught) == code
    assert (repository.head, repository.private, list(hub.repositories)) == (
        head,
        False,
        ["models/acme/tiny"],
    )
    assert list(repository.refs) == ["refs/heads/main"]


def test_a_private_repository_does_not_exist_for_others(hub: Hub, api: HfApi) -> None:
    hub.add_model("acme/tiny", FILES, private=True)
    for token, code in (("hf_other", 404), (False, 401)):
        with pytest.raises(RepositoryNotFoundError) as caught:
            api.model_info("acme/tiny", token=token)
        assert status(caught) == code
    assert api.model_info("acme/tiny", token="hf_reader").private
    assert [found.id for found in api.list_models(author="acme", token=False)] == []


def test_a_gated_one_shows_itself_and_keeps_its_files(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    repository = hub.add_model("acme/tiny", FILES, gated="manual")
    assert api.model_info("acme/tiny", token=False).gated == "manual"

    def download(token: str | bool) -> str:
        return hf_hub_download(
            "acme/tiny", "config.json", endpoint=hub.endpoint, token=token, cache_dir=tmp_path / "cache"
        )

    for token, code in (("hf_other", 403), (False, 401)):
        with pytest.raises(GatedRepoError) as caught:
            download(token)
        assert status(caught) == code
    repository.approved.add("other")
    assert download("hf_other")


def test_a_renamed_repository_is_found_by_its_old_name(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    hub.add_model("acme/tiny", FILES)
    api.move_repo("acme/tiny", "acme/small")
    assert api.model_info("acme/tiny").id == "acme/small"
    path = hf_hub_download("acme/tiny", "model.safetensors", endpoint=hub.endpoint, cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("acme/small")
    assert status(caught) == 409


def test_a_pull_request_shows_nothing_on_main_before_it_is_merged(hub: Hub, api: HfApi) -> None:
    repository = hub.add_model("acme/tiny", FILES)
    foreign = HfApi(endpoint=hub.endpoint, token="hf_other")
    made = foreign.create_commit("acme/tiny", additions({"y.txt": b"y"}), commit_message="m", create_pr=True)
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert "y.txt" not in repository.files
    assert api.model_info("acme/tiny", revision="refs/pr/1").sha == made.oid
    with pytest.raises(HfHubHTTPError) as caught:
        foreign.merge_pull_request("acme/tiny", 1)
    assert status(caught) == 403
    api.merge_pull_request("acme/tiny", 1)
    assert repository.files["y.txt"] == b"y"
    details = api.get_discussion_details("acme/tiny", 1)
    assert (details.status, details.merge_commit_oid) == ("merged", repository.head)
    assert [one.num for one in api.get_repo_discussions("acme/tiny")] == [1]


def test_tags_branches_and_collections(hub: Hub, api: HfApi) -> None:
    repository = hub.add_model("acme/tiny", FILES)
    first, second = repository.head, repository.add_files({"x.txt": b"x"})
    api.create_tag("acme/tiny", tag="v1", revision=first)
    api.create_branch("acme/tiny", branch="next")
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_tag("acme/tiny", tag="v1")
    assert status(caught) == 409
    assert api.model_info("acme/tiny", revision="v1").sha == first
    refs = api.list_repo_refs("acme/tiny")
    assert {branch.name: branch.target_commit for branch in refs.branches} == {"main": second, "next": second}
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/tiny", revision="v9")
    made = api.create_collection("A family", namespace="acme")
    assert api.create_collection("A family", namespace="acme", exists_ok=True).slug == made.slug
    for _ in range(2):
        api.add_collection_item(made.slug, "acme/tiny", "model", exists_ok=True)
    assert [item.item_id for item in api.get_collection(made.slug).items] == ["acme/tiny"]
    with pytest.raises(HfHubHTTPError) as caught:
        api.add_collection_item(made.slug, "acme/gone", "model")
    assert status(caught) == 404


def test_a_jobs_identity_is_traded_for_one_repository(
    hub: Hub, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.add_model("acme/tiny", FILES, private=True)
    hub.add_model("acme/other", FILES)
    for name, value in hub.job(repository="acme/ci", ref="refs/heads/main").items():
        monkeypatch.setenv(name, value)
    for claims in ({"repository": "acme/else"}, {"repository": "acme/ci", "ref": "refs/heads/v2"}):
        repository.publishers = [claims]
        with pytest.raises(HfHubHTTPError, match="invalid_grant"):
            oidc_login(resource="acme/tiny", endpoint=hub.endpoint)
    repository.publishers = [{"repository": "acme/ci", "ref": "refs/heads/main"}]
    token = oidc_login(resource="acme/tiny", endpoint=hub.endpoint)["access_token"]
    api.create_commit("acme/tiny", additions({"y": b"y"}), commit_message="m", token=token)
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit("acme/other", additions({"y": b"y"}), commit_message="m", token=token)
    assert status(caught) == 403
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("acme/new", token=token)
    assert status(caught) == 401


def test_a_fault_hits_the_request_that_it_is_meant_for(hub: Hub, api: HfApi) -> None:
    hub.add_model("acme/tiny", FILES)
    hub.fail("status", route="repo_info", skip=1, status=429, retry_after="7")
    api.model_info("acme/tiny")
    with pytest.raises(HfHubHTTPError) as caught:
        api.model_info("acme/tiny")
    assert (status(caught), caught.value.response.headers["Retry-After"]) == (429, "7")
    api.model_info("acme/tiny")
    assert [request.fault for request in hub.requests] == [None, "status", None]


@pytest.mark.parametrize(("kind", "there"), [("drop", False), ("cut", False), ("lost", True)])
def test_a_dropped_connection_is_before_or_after_the_effect(
    hub: Hub, api: HfApi, kind: Any, there: bool
) -> None:
    repository = hub.add_model("acme/tiny", FILES)
    hub.fail(kind, route="create_commit")
    with pytest.raises(httpx2.TransportError):
        api.create_commit("acme/tiny", additions({"y": b"y"}), commit_message="m")
    assert ("y" in repository.files) is there


def test_a_download_can_be_short_or_wrong_or_slow(hub: Hub) -> None:
    hub.add_model("acme/tiny", FILES)
    url = f"{hub.endpoint}/acme/tiny/resolve/main/model.safetensors"
    hub.fail("truncated", route="get_object")
    with pytest.raises(httpx2.TransportError):
        get_session().get(url)
    hub.fail("corrupt", route="get_object")
    got = get_session().get(url).content
    assert len(got) == len(WEIGHTS)
    assert got != WEIGHTS
    hub.fail("slow", route="get_object", seconds=2)
    with pytest.raises(httpx2.TimeoutException):
        get_session().get(url, timeout=0.2)
    assert get_session().get(url).content == WEIGHTS
