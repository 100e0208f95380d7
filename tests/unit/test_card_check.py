"""Whether a model's cards will be taken is known before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import ExitCode, SourceError
from quantize_lib.host.card_check import card_warnings, check_cards
from quantize_lib.methods.settings import Settings
from quantize_lib.plan.cells import Cell, EvaluateSpec, Job
from quantize_lib.publish.base import Published, PublishedState, Publisher
from quantize_lib.source.base_card import parse_card
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.targets import PublishSpec, publish_spec

JOB = Job(
    id="job",
    model=ModelSpec(id="./mine", name="mine", local=Path("mine")),
    device="cpu",
    calibration=TextSpec(),
    evaluate=EvaluateSpec(),
    cells=(Cell(id="mine-awq-4bit", settings=Settings(method="awq", bits=4), repository="acme/mine"),),
)


class Asked(Publisher):
    """Takes no card, and remembers those that it was asked for."""

    def __init__(self) -> None:
        self.cards: list[str] = []

    def current(self, repository: str, part: str = "") -> PublishedState | None:
        raise NotImplementedError

    def record(self, repository: str, part: str = "") -> dict[str, Any] | None:
        raise NotImplementedError

    def publish(self, *_: Any, **__: Any) -> Published:
        raise NotImplementedError

    def refusal(self, card: str) -> str | None:
        self.cards.append(card)
        return "it is not what I like"


def facts(metadata: str) -> ModelFacts:
    card = parse_card(f"---\n{metadata}\n---\n".encode())
    return ModelFacts(
        config={}, tensors={}, layers=(), revision="", weight_bytes=0, download_bytes=0, card=card.fields
    )


def to(target: str = "hub", **card: Any) -> PublishSpec:
    return publish_spec(target, card=card)


def error(metadata: str, publish: PublishSpec, publisher: Publisher | None = None) -> SourceError | None:
    try:
        check_cards(JOB, facts(metadata), publish, publisher)
    except SourceError as found:
        return found
    return None


@pytest.mark.parametrize(
    ("metadata", "key", "value"),
    [
        ("license: MIT OR Apache-2.0", "`license`", "`MIT OR Apache-2.0`"),
        ("license: [mit, My own licence]", "`license`", "`My own licence`"),
        ("license: other\nlicense_link: ./LICENSE.txt", "`license_link`", "`./LICENSE.txt`"),
    ],
)  # fmt: skip
def test_what_the_hub_is_sure_to_refuse_is_an_error_that_says_how_to_mend_it(
    metadata: str, key: str, value: str
) -> None:
    found = error(metadata, to())
    assert found is not None
    assert found.exit_code == ExitCode.CELL_FAILED
    assert all(words in found.message for words in ("./mine", key, value))
    assert "publish.card" in str(found.hint)
    assert error(metadata, to("directory")) is None
    (warning, *_) = card_warnings(JOB, facts(metadata), to("directory"))
    assert key.strip("`") in warning
    assert value in warning


@pytest.mark.parametrize(
    "metadata",
    [
        "license: GPL-3.0-or-later",
        "license: Apache 2.0",
        "license: MIT",
        "license: other",
        "license: other\nlicense_name: Acme License v1\nlicense_link: https://example.org",
        "license: mit\nlanguage: English",
        "license: mit\nlanguage: en_US",
        "license: mit\nlanguage: [EN, de]",
        "license: mit\npipeline_tag: conversational",
        "license: mit\nbase_model: [a/b, c/d]",
        "license: new-on-the-hub",
        "",
    ],
)
def test_what_can_be_put_into_the_hubs_words_or_be_new_there_is_no_error(metadata: str) -> None:
    assert error(metadata, to()) is None


def test_the_manifest_mends_what_the_base_card_says() -> None:
    bad = "license: other\nlicense_name: acme\nlicense_link: ./LICENSE.txt"
    assert error(bad, to(license_link="https://example.org")) is None
    assert error(bad, to(license="mit")) is None
    assert error("license: MIT OR Apache-2.0", to(license=["mit", "apache-2.0"])) is None


def test_the_target_itself_is_asked_for_the_card_as_it_will_be() -> None:
    asked = Asked()
    found = error("license: mit\nlanguage: [no]", to(tags=["finance"]), asked)
    assert found is not None
    assert "it is not what I like" in found.message
    assert "publish.card" in str(found.hint)
    (card,) = asked.cards
    data = yaml.safe_load(card.split("---")[1])
    assert (data["license"], data["language"]) == ("mit", ["no"])
    assert data["tags"] == ["awq", "4-bit", "quantized", "model-quantizer", "finance"]
    assert error("license: mit", to("directory"), Asked()) is None


def test_what_is_doubtful_or_differs_is_a_warning() -> None:
    def warnings(metadata: str, **card: Any) -> list[str]:
        return list(card_warnings(JOB, facts(metadata), to(**card)))

    (unknown,) = warnings("license: mitt")
    assert "`mitt`" in unknown
    assert "Perhaps you meant `mit`?" in unknown
    (nameless,) = warnings("license: other")
    assert "license_name" in nameless
    (other,) = warnings("license: gemma", license="mit")
    assert "`mit`" in other
    assert "`gemma`" in other
    assert warnings("license: mit", license="mit", language="en") == []
    assert warnings("language: en", license="mit") == []
