"""What the Hub refuses of a card is found before anything is computed, and mended without computing again."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.host.lookups import Lookups
from quantize_lib.hub.cards import card_refusal
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub, serve
from tests.support.hub.faults import FaultKind
from tests.support.model_files import write_model
from tests.support.publications import TOKEN, met
from tests.support.small_runs import FASTEST, command, environment, manifest, report, save_tiny_model

CELL = "tiny-bnb-8bit"
NAME = f"acme/{CELL}"
CARD = "README.md"
FAULTS: tuple[FaultKind, ...] = ("status", "drop", "lost")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub()) as server:
        server.add_token(TOKEN, "acme")
        yield server


def base_card(folder: Path, metadata: str) -> None:
    (folder / CARD).write_text(f"---\n{metadata}\n---\n# Tiny\n", encoding="utf-8")


def asked(hub: Hub, folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    env = environment(**hub.environment(folder / "home"), HF_TOKEN_WRITE=TOKEN)
    return command(*words, cwd=folder, env=env)


def published(hub: Hub) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(hub.model(NAME).files[CARD].decode().split("---")[1])
    return data


def quantized(folder: Path) -> int:
    return (folder / "output" / CELL / "model.safetensors").stat().st_mtime_ns


def test_the_hub_is_asked_before_anything_is_computed_and_its_answer_names_the_way_out(
    hub: Hub, tmp_path: Path
) -> None:
    write_model(tmp_path / "tiny")
    base_card(tmp_path / "tiny", "license: new-elsewhere")
    path = manifest(
        tmp_path,
        tmp_path / "tiny",
        tmp_path / "tiny" / CARD,
        FASTEST,
        publish={"to": "hub", "namespace": "acme"},
    )
    for words in (("plan", path), ("run", path)):
        done = asked(hub, tmp_path, *words)
        assert done.returncode == 3, done.stderr
        assert '"license" must be one of' in done.stderr
        assert "publish.card" in done.stderr
    assert report(tmp_path / "output")[CELL]["code"] == "source"
    assert not hub.asked("create_repo")


def test_a_finished_checkpoint_gets_its_mended_card_and_is_not_quantized_again(
    hub: Hub, tmp_path: Path, calibration_text: Path
) -> None:
    """The manifest, the base model's card and the card in the output folder, one after the other."""
    tiny = save_tiny_model(tmp_path / "tiny", calibration_text)
    base_card(tiny, "license: MIT OR Apache-2.0\nlanguage: [en, no, 7]")
    target = {"to": "hub", "namespace": "acme"}

    def write(**card: Any) -> Path:
        said = {**target, "card": card} if card else target
        return manifest(tmp_path, tiny, calibration_text, FASTEST, publish=said)

    def run(*more: str, **card: Any) -> subprocess.CompletedProcess[str]:
        return asked(hub, tmp_path, "run", write(**card), *more)

    # Built though the Hub would refuse it; found before anything is sent.
    done = run("--no-publish")
    assert done.returncode == 0, done.stderr
    assert "`MIT OR Apache-2.0` is no licence id of the Hub" in done.stderr
    made = quantized(tmp_path)
    done = run()
    assert done.returncode == 5
    assert "publish.card" in done.stderr
    assert not hub.asked("create_repo")

    done = run(license=["MIT", "Apache 2.0"])
    assert done.returncode == 0, done.stderr
    assert published(hub)["license"] == ["mit", "apache-2.0"]
    assert published(hub)["language"] == ["en", "no"]
    assert report(tmp_path / "output")[CELL]["status"] == "published"
    assert any("its card's `language`" in note for note in report(tmp_path / "output")[CELL]["notes"])
    commits = len(hub.model(NAME).titles)
    assert run(license=["MIT", "Apache 2.0"]).returncode == 0
    assert len(hub.model(NAME).titles) == commits

    base_card(tiny, "license: mit\nlanguage: [en, sv]")
    hub.fail("status", route="create_commit", status=403)
    assert run().returncode == 5
    assert published(hub)["language"] == ["en", "no"]
    done = run()
    assert done.returncode == 0, done.stderr
    assert (published(hub)["license"], published(hub)["language"]) == ("mit", ["en", "sv"])

    # `publish` looks at the manifest and the base model's card, too.
    write(license="wtfpl")
    assert asked(hub, tmp_path, "publish", "output").returncode == 0
    assert published(hub)["license"] == "wtfpl"
    write().write_text("version: 1\nmodels: 7\n", encoding="utf-8")
    done = asked(hub, tmp_path, "publish", "output")
    assert done.returncode == 0
    assert "cards are published as they are" in done.stderr
    write()
    base_card(tiny, "license: mit\nlanguage: sv")
    assert asked(hub, tmp_path, "publish", "output").returncode == 0
    assert (published(hub)["license"], published(hub)["language"]) == ("mit", "sv")

    card = tmp_path / "output" / CELL / CARD
    card.write_text(card.read_text().replace("license: mit", "license: apache-2.0").replace("# t", "# My t"))
    done = asked(hub, tmp_path, "publish", "output")
    assert done.returncode == 0, done.stderr
    assert published(hub)["license"] == "apache-2.0"
    assert hub.model(NAME).files[CARD] == card.read_bytes()
    assert run().returncode == 0
    assert hub.model(NAME).files[CARD] == card.read_bytes()
    assert run(license="mit").returncode == 0
    assert published(hub)["license"] == "mit"
    assert b"# My t" in hub.model(NAME).files[CARD]
    assert quantized(tmp_path) == made


def test_a_card_in_an_output_folder_that_the_hub_refuses_is_told_before_the_upload(
    hub: Hub, tmp_path: Path, calibration_text: Path
) -> None:
    tiny = save_tiny_model(tmp_path / "tiny", calibration_text)
    path = manifest(tmp_path, tiny, calibration_text, FASTEST, publish={"to": "hub", "namespace": "acme"})
    assert asked(hub, tmp_path, "run", path, "--no-publish").returncode == 0
    card = tmp_path / "output" / CELL / CARD
    good = card.read_text()
    for bad, words in (("license: Mine", "license"), ("license: [", "not YAML")):
        card.write_text(good.replace("license: apache-2.0", bad))
        done = asked(hub, tmp_path, "publish", "output")
        assert done.returncode == 5
        assert words in done.stderr
        assert CARD in done.stderr
        assert not hub.asked("preupload")
    card.write_text(good)
    assert asked(hub, tmp_path, "publish", "output").returncode == 0
    assert published(hub)["license"] == "apache-2.0"


def test_a_hub_that_cannot_be_asked_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with met(monkeypatch) as hub:
        publisher = HubPublisher(publish_spec("hub", namespace="acme"))
        assert publisher.refusal("---\nlicense: mit\nlanguage: [en, 'no']\n---\n") is None
        said = publisher.refusal("---\nlicense: mit\nlanguage: english\n---\n")
        assert said is not None
        assert '"language" with value "english" is not valid' in said
        for kind in FAULTS:
            hub.fail(kind, route="validate_yaml")
            assert card_refusal("---\nlicense: x\n---\n", token=None) is None


def test_the_card_of_a_hub_model_is_asked_for_once_when_a_finished_checkpoint_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with met(monkeypatch) as hub:
        hub.add_model("meta/base", {CARD: b"---\nlicense: Apache 2.0\nlanguage: [no]\n---\n"})
        lookups = Lookups(PlainReporter(io.StringIO()))
        model = ModelSpec(id="meta/base", name="base")
        before = len(hub.requests)
        for _ in range(2):
            assert lookups.card(model).fields == {"license": "apache-2.0", "language": ["no"]}
        assert [request.method for request in hub.requests[before:]] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("./terms/LICENSE.txt", "https://huggingface.co/meta/base/blob/{commit}/terms/LICENSE.txt"),
        ("LICENSE", "LICENSE"),
        ("missing.txt", "missing.txt"),
        ("https://x.example/l", "https://x.example/l"),
    ],
)
def test_a_licence_beside_a_hub_models_card_is_linked_by_its_address(
    monkeypatch: pytest.MonkeyPatch, link: str, becomes: str
) -> None:
    with met(monkeypatch) as hub:
        card = f"---\nlicense: other\nlicense_name: x\nlicense_link: {link}\n---\n".encode()
        hub.add_model("meta/base", {CARD: card, "terms/LICENSE.txt": b"x", "LICENSE": b"x"})
        found = Lookups(PlainReporter(io.StringIO())).card(ModelSpec(id="meta/base", name="base"))
        commit = hub.model("meta/base").head
        assert found.fields["license_link"] == becomes.format(commit=commit)
