"""What may follow a publication: a tag for the base's release, a collection; and who may see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.errors import PublishError
from quantize_lib.hub.credentials import read_token
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Origin, Published
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.publish.hub.tag_and_collection import tag_of
from quantize_lib.source.facts import Terms
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.remote import list_model
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub
from tests.support.publications import NAME, ONE, TWO, checkpoint, met

BASE = Origin(model="meta/Base-1B", revision="0123456789abcdef" + "0" * 24)
TAG = "refs/tags/base-0123456789ab"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with met(monkeypatch) as server:
        yield server


def publish(folder: Path, fingerprint: str = ONE, *, origin: Origin = BASE, **options: Any) -> Published:
    publisher = HubPublisher(publish_spec("hub", **options), retry=Retry(attempts=2, sleep=lambda _: None))
    if not folder.exists():
        checkpoint(folder, fingerprint)
    return publisher.publish(folder, NAME, fingerprint=fingerprint, message="m", origin=origin)


def terms(**words: Any) -> Origin:
    return Origin(model="meta/Base-1B", revision="0" * 40, terms=Terms(**words))


@pytest.mark.parametrize(
    ("revision", "tag"),
    [
        ("0123456789ab" + "c" * 28, "base-0123456789ab"),
        ("sha256:" + "ab" * 32, "base-" + "ab" * 6),
        (None, None),
        ("main", None),
        ("../x", None),
    ],
)
def test_a_tag_is_made_from_a_commit_or_a_content_hash_alone(revision: str | None, tag: str | None) -> None:
    assert tag_of(revision) == tag


def test_nothing_follows_where_nothing_was_asked_for(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one")
    assert list(hub.model(NAME).refs) == ["refs/heads/main"]
    assert hub.collections == {}


def test_the_first_publication_of_a_release_is_tagged_and_the_tag_stays(hub: Hub, tmp_path: Path) -> None:
    first = publish(tmp_path / "one", tag=True)
    assert hub.model(NAME).refs[TAG] == first.commit
    second = publish(tmp_path / "two", TWO, tag=True)
    assert second.commit != first.commit
    assert hub.model(NAME).refs[TAG] == first.commit


def test_a_collection_is_made_once_for_each_title_and_holds_each_repository_once(
    hub: Hub, tmp_path: Path
) -> None:
    publish(tmp_path / "one", collection="{model}, quantized")
    publish(tmp_path / "two", TWO, collection="{model}, quantized")
    (made,) = hub.collections.values()
    assert (made.title, made.owner, made.private) == ("Base-1B, quantized", "acme", True)
    assert [(item["type"], item["id"]) for item in made.items] == [("model", NAME)]


def test_the_collection_of_public_models_is_public(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", collection="all", private=False)
    assert [made.private for made in hub.collections.values()] == [False]


@pytest.mark.parametrize("route", ["create_tag", "create_collection", "add_collection_item"])
def test_what_failed_after_the_commit_is_said_and_made_good_by_publishing_again(
    hub: Hub, tmp_path: Path, route: str
) -> None:
    hub.fail("status", route=route, times=2)
    with pytest.raises(PublishError, match="but not tagged or collected") as caught:
        publish(tmp_path / "one", tag=True, collection="all")
    assert "`model-quantizer publish DIR`" in str(caught.value)
    done = publish(tmp_path / "one", tag=True, collection="all")
    assert hub.model(NAME).titles == ["m", "initial commit"]
    assert hub.model(NAME).refs[TAG] == done.commit
    (made,) = hub.collections.values()
    assert len(made.items) == 1


@pytest.mark.parametrize("route", ["create_tag", "create_collection", "add_collection_item"])
@pytest.mark.parametrize("kind", ["status", "drop", "lost"])
def test_a_passing_fault_of_an_option_is_tried_again(hub: Hub, tmp_path: Path, route: str, kind: Any) -> None:
    hub.fail(kind, route=route)
    publish(tmp_path / "one", tag=True, collection="all")
    (made,) = hub.collections.values()
    assert len(made.items) == 1
    assert TAG in hub.model(NAME).refs


# Who may see it.


@pytest.mark.parametrize("kind", ["auto", "manual"])
def test_a_gated_base_is_never_seen_ungated(hub: Hub, tmp_path: Path, kind: Any) -> None:
    publish(tmp_path / "one", origin=terms(gated=kind), private=False)
    repository = hub.model(NAME)
    assert (repository.private, repository.gated) == (False, kind)
    # In one request: between two it would be open for a moment.
    (settings,) = hub.asked("update_settings")
    assert settings.json() == {"visibility": "public", "gated": kind}


def test_a_public_repository_is_gated_before_anything_new_of_a_gated_base_is_seen(
    hub: Hub, tmp_path: Path
) -> None:
    publish(tmp_path / "one", private=False)
    publish(tmp_path / "two", TWO, origin=terms(gated="auto"), private=False)
    assert hub.model(NAME).gated == "auto"
    last = hub.asked("create_commit")[-1]
    assert hub.asked("update_settings")[-1].number < last.number


@pytest.mark.parametrize("origin", [terms(private=True), Origin(terms=None)])
def test_a_private_base_stays_private(hub: Hub, tmp_path: Path, origin: Origin) -> None:
    publish(tmp_path / "one", origin=origin, private=False)
    assert hub.model(NAME).private
    publish(tmp_path / "one", origin=origin, private=False)
    assert hub.model(NAME).private


def test_a_private_base_is_not_published_into_a_public_repository(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", private=False)
    before = hub.model(NAME).head
    with pytest.raises(PublishError, match="is public, but the base model is private"):
        publish(tmp_path / "two", TWO, origin=terms(private=True), private=False)
    assert hub.model(NAME).head == before


@pytest.mark.parametrize("origin", [terms(private=True), terms(gated="manual"), Origin(terms=None)])
def test_the_manifest_can_confirm_that_it_may_be_open(hub: Hub, tmp_path: Path, origin: Origin) -> None:
    publish(tmp_path / "one", origin=origin, private=False, terms_allow_public=True)
    assert (hub.model(NAME).private, hub.model(NAME).gated) == (False, False)


def test_a_repository_that_was_gated_by_hand_stays_so(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", private=False)
    hub.model(NAME).gated = "manual"
    publish(tmp_path / "two", TWO, private=False)
    assert hub.model(NAME).gated == "manual"


@pytest.mark.parametrize("closed", [{"gated": "manual"}, {"gated": "auto"}, {"private": True}, {}])
def test_the_terms_of_a_base_on_the_hub_are_read_with_the_read_token(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, closed: dict[str, Any]
) -> None:
    monkeypatch.setenv("HF_TOKEN_READ", "hf_reads-alone")
    hub.add_token("hf_reads-alone", "meta", "read")
    hub.add_model("meta/base", {"README.md": b"---\nlicense: llama3.1\n---\n"}, **closed)
    found = list_model(ModelSpec(id="meta/base", name="base"), token=read_token())
    assert found.terms == Terms(license="llama3.1", **closed)
    assert {request.headers["authorization"] for request in hub.requests} == {"Bearer hf_reads-alone"}
