"""Publishing to the Hub, by its genuine client, on a Hub of the loopback address."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quantize_lib.errors import PublishError, UsageError
from quantize_lib.files import sha256_file, write_json
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Published, PublishedState
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub, Repository, Request
from tests.support.publications import NAME, NOTES, ONE, TWO, checkpoint, met


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with met(monkeypatch) as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the publisher would have waited."""
    return []


@pytest.fixture
def publisher(waits: list[float]) -> HubPublisher:
    return HubPublisher(publish_spec("hub", namespace="acme"), retry=Retry(sleep=waits.append))


@pytest.fixture
def public(waits: list[float]) -> HubPublisher:
    return HubPublisher(publish_spec("hub", namespace="acme", private=False), retry=Retry(sleep=waits.append))


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a checkpoint that publishes."""

    def checkpoint(fingerprint: str = ONE, *, shards: int = 1, **more: str) -> Path:
        folder = tmp_path / f"checkpoint-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        write_json(folder / "config.json", {"made": fingerprint})
        for number in range(shards):
            weights = bytes([number]) + fingerprint.encode() * 100
            (folder / f"model-{number}-of-{shards}.safetensors").write_bytes(weights)
        (folder / "README.md").write_text(
            "---\nlicense: mit\nmodel_quantizer:\n"
            f"  fingerprint: {fingerprint}\n  version: 0.1.0\n---\n\n# Tiny\n",
            encoding="utf-8",
        )
        for name, text in more.items():
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
        write_json(folder / RECORD_FILE, {"fingerprint": fingerprint, "files": files})
        return folder

    return checkpoint


def publish(publisher: HubPublisher, checkpoint: Path, fingerprint: str = ONE) -> Published:
    return publisher.publish(checkpoint, NAME, fingerprint=fingerprint, message="Quantize tiny")


def content(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


def own(repository: Repository) -> dict[str, bytes]:
    """What is visible, without what the Hub itself put there."""
    return {name: data for name, data in repository.files.items() if name != ".gitattributes"}


def meanwhile(hub: Hub, act: Callable[[], object], *, route: str = "create_commit", times: int = 1) -> None:
    """Somebody else acts just before a request of ours arrives."""
    left = [times]

    def when(_: Request) -> bool:
        if left[0]:
            left[0] -= 1
            act()
        return False

    hub.fail("status", route=route, when=when, times=None)


# One good commit.


def test_a_new_repository_holds_exactly_the_checkpoint_in_one_commit(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    checkpoint = make(shards=2)
    done = publish(publisher, checkpoint)
    repository = hub.model(NAME)
    assert own(repository) == content(checkpoint)
    assert repository.titles == ["Quantize tiny", "initial commit"]
    assert repository.private
    assert done == Published(commit=repository.head)
    commit = repository.commits[repository.head]
    assert commit.files["model-0-of-2.safetensors"].lfs
    assert ONE in commit.description


def test_what_is_published_can_be_found_out_by_one_request(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    assert publisher.current(NAME) is None
    done = publish(publisher, make())
    before = len(hub.requests)
    assert publisher.current(NAME) == PublishedState(fingerprint=ONE, commit=done.commit, version="0.1.0")
    assert len(hub.requests) == before + 1


def test_the_same_request_tells_by_what_it_was_chosen(
    hub: Hub, publisher: HubPublisher, tmp_path: Path
) -> None:
    card = f"---\nmodel_quantizer: {{fingerprint: {ONE}, choice: 'sha256:0123456789abcdef'}}\n---\n"
    publish(publisher, checkpoint(tmp_path / "chosen", ONE, {"README.md": card}))
    before = len(hub.requests)
    state = publisher.current(NAME)
    assert len(hub.requests) == before + 1
    assert state is not None
    assert (state.fingerprint, state.choice) == (ONE, "sha256:0123456789abcdef")


def test_the_same_again_makes_no_second_commit(hub: Hub, publisher: HubPublisher, make: Make) -> None:
    checkpoint = make()
    first = publish(publisher, checkpoint)
    assert publish(publisher, checkpoint) == first
    assert len(hub.asked("create_commit")) == 1


def test_a_new_state_replaces_the_old_one_in_one_commit_and_leaves_a_persons_files(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    publish(publisher, make(shards=2, vocab="old"))
    repository = hub.model(NAME)
    by_hand = {"picture.png": b"\0png", "notes/how.md": b"# How", "model.safetensors": b"left over"}
    repository.add_files(by_hand)
    new = make(TWO)
    publish(publisher, new, TWO)
    del by_hand["model.safetensors"]
    assert own(repository) == content(new) | by_hand
    assert ".gitattributes" in repository.files
    assert repository.titles == ["Quantize tiny", "Update", "Quantize tiny", "initial commit"]


def test_what_a_person_wrote_between_the_cards_markers_survives_and_the_record_stays_true(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    publish(publisher, make())
    repository = hub.model(NAME)
    repository.add_files({"README.md": repository.files["README.md"] + f"\n{NOTES}\n\nLost.\n".encode()})
    new = make(TWO)
    publish(publisher, new, TWO)
    card = repository.files["README.md"].decode()
    assert card == f"{(new / 'README.md').read_text(encoding='utf-8')}\n{NOTES}\n"
    (new / "README.md").write_text(card, encoding="utf-8")
    assert json.loads(repository.files[RECORD_FILE])["files"]["README.md"] == sha256_file(new / "README.md")


def test_a_card_that_was_merged_settles(hub: Hub, publisher: HubPublisher, make: Make) -> None:
    checkpoint = make()
    publish(publisher, checkpoint)
    repository = hub.model(NAME)
    repository.add_files({"README.md": repository.files["README.md"] + NOTES.encode()})
    publish(publisher, checkpoint)
    head = repository.head
    assert publish(publisher, checkpoint).commit == head == repository.head


def test_what_was_taken_back_is_remembered_by_the_next_card(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    publish(publisher, make())
    repository = hub.model(NAME)
    card = repository.files["README.md"].replace(b"  version", b"  rejected: [dead, beef]\n  version")
    repository.add_files({"README.md": card})
    publish(publisher, make(TWO), TWO)
    state = publisher.current(NAME)
    assert state is not None
    assert (state.fingerprint, state.rejected) == (TWO, ("dead", "beef"))


def test_a_gitignore_in_the_repository_leaves_nothing_out(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    hub.add_model(NAME, {".gitignore": b"*.json\n*.safetensors\n"}, private=True)
    checkpoint = make()
    publish(publisher, checkpoint)
    assert hub.model(NAME).files == content(checkpoint) | {".gitignore": b"*.json\n*.safetensors\n"}


# Whose repository it is, and who sees it.


def test_a_public_repository_is_private_until_it_holds_something_good(
    hub: Hub, public: HubPublisher, make: Make
) -> None:
    publish(public, make())
    repository = hub.model(NAME)
    assert [(state.private, state.commit == repository.head) for state in repository.history] == [
        (True, False),
        (True, True),
        (False, True),
    ]
    assert list(repository.refs) == ["refs/heads/main"]


def test_a_publication_that_was_cut_off_before_it_became_public_is_finished_without_a_commit(
    hub: Hub, public: HubPublisher, make: Make
) -> None:
    checkpoint = make()
    fault = hub.fail("status", route="update_settings", times=None)
    with pytest.raises(PublishError, match="503"):
        publish(public, checkpoint)
    repository = hub.model(NAME)
    state = public.current(NAME)
    assert repository.private
    assert state is not None
    assert state.fingerprint is None
    hub.faults.remove(fault)
    publish(public, checkpoint)
    assert not repository.private
    assert repository.titles == ["Quantize tiny", "initial commit"]


def test_a_repository_that_a_person_made_private_stays_so(hub: Hub, public: HubPublisher, make: Make) -> None:
    publish(public, make())
    repository = hub.model(NAME)
    repository.private = True
    state = public.current(NAME)
    assert state is not None
    assert state.fingerprint == ONE
    publish(public, make(TWO), TWO)
    assert repository.private


def test_somebodys_model_is_not_overwritten(hub: Hub, publisher: HubPublisher, make: Make) -> None:
    files = {"README.md": b"# Mine", "model.safetensors": b"mine"}
    repository = hub.add_model(NAME, files)
    for act in (lambda: publish(publisher, make()), lambda: publisher.current(NAME)):
        with pytest.raises(PublishError, match="was not published by this tool") as caught:
            act()
        assert "publish.name" in str(caught.value.hint)
    assert repository.files == files
    assert not [request for request in hub.requests if request.method != "GET"]


def test_a_repository_that_was_made_by_hand_for_us_is_taken(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    repository = hub.add_model(NAME, {"README.md": f"# Soon\n\n{NOTES}\n".encode()}, private=True)
    assert publisher.current(NAME) is None
    publish(publisher, make())
    assert repository.files["README.md"].endswith(f"# Tiny\n\n{NOTES}\n".encode())
    assert not hub.asked("create_repo")


def test_a_renamed_repository_is_named(hub: Hub, publisher: HubPublisher, make: Make) -> None:
    publish(publisher, make())
    hub.rename(hub.model(NAME), "acme/other")
    with pytest.raises(PublishError, match="is called 'acme/other' on the Hub"):
        publisher.current(NAME)


def test_a_name_without_a_namespace_is_refused_before_anything_is_sent(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    with pytest.raises(PublishError, match=r"publish\.namespace"):
        publisher.publish(make(), "tiny", fingerprint=ONE, message="m")
    assert not hub.requests


# Several at once.


def test_who_is_overtaken_plans_anew(hub: Hub, publisher: HubPublisher, make: Make) -> None:
    publish(publisher, make())
    repository = hub.model(NAME)
    meanwhile(hub, lambda: repository.add_files({"evaluation.md": b"new"}))
    new = make(TWO)
    publish(publisher, new, TWO)
    assert own(repository) == content(new) | {"evaluation.md": b"new"}
    assert repository.titles == ["Quantize tiny", "Update", "Quantize tiny", "initial commit"]


def test_who_is_overtaken_by_the_same_takes_it(hub: Hub, publisher: HubPublisher, make: Make) -> None:
    checkpoint, other = make(), make(vocab="another machine's")
    repository = hub.add_model(NAME, private=True)
    meanwhile(hub, lambda: repository.add_files(content(other), title="The other's"))
    assert publish(publisher, checkpoint).commit == repository.head
    assert repository.titles == ["The other's", "initial commit"]


def test_who_is_overtaken_again_and_again_gives_up(
    hub: Hub, publisher: HubPublisher, make: Make, waits: list[float]
) -> None:
    repository = hub.add_model(NAME, private=True)
    meanwhile(hub, lambda: repository.add_files({".gitignore": bytes(repository.head, "ascii")}), times=9)
    with pytest.raises(PublishError, match="412") as caught:
        publish(publisher, make())
    assert "Somebody else" in str(caught.value.hint)
    assert len(hub.asked("create_commit")) == 3
    assert waits == []


# Faults.


@pytest.mark.parametrize("kind", ["lost", "drop", "status"])
def test_a_commit_without_an_answer_is_looked_for_before_it_is_asked_for_again(
    kind: str, hub: Hub, publisher: HubPublisher, make: Make, waits: list[float]
) -> None:
    checkpoint = make()
    hub.fail(kind, route="create_commit")  # type: ignore[arg-type]
    done = publish(publisher, checkpoint)
    repository = hub.model(NAME)
    assert done.commit == repository.head
    assert repository.titles == ["Quantize tiny", "initial commit"]
    assert own(repository) == content(checkpoint)
    assert len(waits) == 1


def test_what_was_uploaded_is_not_uploaded_again(hub: Hub, publisher: HubPublisher, make: Make) -> None:
    checkpoint = make(shards=2)
    digest = sha256_file(checkpoint / "model-1-of-2.safetensors")
    fault = hub.fail(
        "status", route="put_object", when=lambda request: digest in request.target, status=403, times=None
    )
    with pytest.raises(PublishError, match="403"):
        publish(publisher, checkpoint)
    assert set(hub.model(NAME).files) == {".gitattributes"}
    hub.faults.remove(fault)
    publish(publisher, checkpoint)
    sent = [request.target.rpartition("?")[0][-64:] for request in hub.asked("put_object")]
    first = sha256_file(checkpoint / "model-0-of-2.safetensors")
    assert (sent.count(first), sent.count(digest)) == (1, 2)


@pytest.mark.parametrize("known", [False, True])
def test_a_commit_that_is_not_what_was_sent_is_taken_back(
    known: bool, hub: Hub, public: HubPublisher, make: Make
) -> None:
    if known:
        publish(public, make())
    else:
        hub.add_model(NAME, private=True)
    repository = hub.model(NAME)
    before = repository.files
    hub.claimed["model-0-of-1.safetensors"] = 7
    with pytest.raises(PublishError, match="other content") as caught:
        publish(public, make(TWO), TWO)
    assert "was put back" in str(caught.value.hint)
    assert repository.files == before
    assert repository.titles[0].startswith("Take back ")
    assert repository.private is not known


def test_a_commit_that_was_taken_back_without_an_answer_counts_as_taken_back(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    publish(publisher, make())
    before = hub.model(NAME).files
    hub.claimed["model-0-of-1.safetensors"] = 7
    hub.fail("lost", route="create_commit", skip=1)
    with pytest.raises(PublishError, match="other content") as caught:
        publish(publisher, make(TWO), TWO)
    assert "was put back" in str(caught.value.hint)
    assert hub.model(NAME).files == before


def test_a_commit_that_cannot_be_taken_back_is_not_kept_silent(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    publish(publisher, make())
    hub.claimed["model-0-of-1.safetensors"] = 7
    hub.fail("status", route="create_commit", skip=1, status=403, times=None)
    with pytest.raises(PublishError, match="other content") as caught:
        publish(publisher, make(TWO), TWO)
    assert "everybody sees" in str(caught.value.hint)
    assert hub.model(NAME).head[:12] in str(caught.value.hint)


def test_a_damaged_checkpoint_is_not_sent(hub: Hub, publisher: HubPublisher, make: Make) -> None:
    checkpoint = make()
    (checkpoint / "config.json").write_text("{}")
    with pytest.raises(PublishError, match=r"config\.json was changed"):
        publish(publisher, checkpoint)
    assert not hub.requests


def test_a_busy_hub_is_given_the_time_it_asks_for(
    hub: Hub, publisher: HubPublisher, make: Make, waits: list[float]
) -> None:
    hub.fail("status", route="create_repo", status=429, retry_after="7")
    hub.fail("status", route="repo_info", status=502, times=2)
    publish(publisher, make())
    assert waits[2:] == [7.0]
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2


def test_patience_ends(hub: Hub, publisher: HubPublisher, make: Make, waits: list[float]) -> None:
    hub.fail("status", route="repo_info", status=503, times=None)
    with pytest.raises(PublishError, match="503") as caught:
        publish(publisher, make())
    assert "Run it again later" in str(caught.value.hint)
    assert len(waits) == len(hub.requests) - 1 == 5


def test_a_wait_beyond_all_patience_is_told_not_waited(
    hub: Hub, publisher: HubPublisher, make: Make, waits: list[float]
) -> None:
    hub.fail("status", route="repo_info", status=429, retry_after="3600", times=None)
    with pytest.raises(PublishError) as caught:
        publish(publisher, make())
    assert "3600 seconds" in str(caught.value.hint)
    assert (waits, len(hub.requests)) == ([], 1)


def test_a_token_that_may_only_read_is_told_so_at_once(
    hub: Hub, publisher: HubPublisher, make: Make, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    reader = hub.add_token("hf_" + "r" * 34, "acme", "read")
    monkeypatch.setenv("HF_TOKEN_WRITE", reader)
    with pytest.raises(PublishError, match="403") as caught:
        publish(publisher, make())
    assert "write" in str(caught.value.hint)
    assert reader not in str(caught.value)
    assert (hub.repositories, waits) == ({}, [])


def test_a_wrong_token_is_told_so_at_once(
    hub: Hub, publisher: HubPublisher, make: Make, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setenv("HF_TOKEN_WRITE", "hf_" + "x" * 34)
    with pytest.raises(PublishError, match="401") as caught:
        publish(publisher, make())
    assert "expired" in str(caught.value.hint)
    assert (len(hub.requests), waits) == (1, [])


def test_a_private_repository_of_somebody_else_is_told_apart_from_none(
    hub: Hub, publisher: HubPublisher, make: Make
) -> None:
    hub.add_model("other/tiny", private=True)
    hub.add_organization("other", writers=())
    with pytest.raises(PublishError, match="namespace"):
        publisher.publish(make(), "other/tiny", fingerprint=ONE, message="m")


# Before anything is computed.


def test_a_token_that_may_write_passes_for_new_and_old_repositories(
    hub: Hub, publisher: HubPublisher
) -> None:
    hub.add_model(NAME)
    publisher.check([NAME])
    assert len(hub.requests) == 1
    publisher.check(["acme/new", "acme/more"])
    assert len(hub.requests) == 3
    assert {request.method for request in hub.requests} == {"GET"}


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(("role", "said"), [("read", "may"), ("none", "401")])
def test_a_token_that_may_not_write_is_a_usage_error(
    exists: bool,
    role: str,
    said: str,
    hub: Hub,
    publisher: HubPublisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = "hf_" + "r" * 34
    monkeypatch.setenv("HF_TOKEN_WRITE", value if role == "none" else hub.add_token(value, "acme", "read"))
    if exists:
        hub.add_model(NAME)
    with pytest.raises(UsageError, match=said) as caught:
        publisher.check([NAME])
    assert value not in str(caught.value)


def test_somebody_elses_namespace_is_a_usage_error(hub: Hub, publisher: HubPublisher) -> None:
    hub.add_model("other/tiny")
    with pytest.raises(UsageError, match="403"):
        publisher.check(["other/tiny"])


@pytest.mark.usefixtures("hub")
def test_the_hub_needs_a_namespace_to_publish_into(publisher: HubPublisher) -> None:
    with pytest.raises(UsageError, match="tiny: a repository on the Hub is in a namespace"):
        publisher.check(["tiny"])


@pytest.mark.parametrize("kind", ["status", "drop"])
def test_trouble_of_the_moment_does_not_keep_anything_from_being_computed(
    kind: str, hub: Hub, publisher: HubPublisher
) -> None:
    hub.fail(kind, times=None)  # type: ignore[arg-type]
    publisher.check([NAME])
    assert len(hub.requests) > 1
