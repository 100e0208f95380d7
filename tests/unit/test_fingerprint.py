"""The fingerprint changes with what determines a cell's output, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.methods.settings import Override, Settings
from quantize_lib.plan import fingerprint
from quantize_lib.plan.cells import Cell, EvaluateSpec, Job
from quantize_lib.plan.fingerprint import inputs, known_inputs
from quantize_lib.source.model_spec import ModelSpec

COMMIT = "0" * 40
GPTQ = Settings(method="gptq", bits=4)
BNB = Settings(method="bitsandbytes", bits=4)
JOB = Job(
    id="m-auto",
    model=ModelSpec(id="acme/m", name="m"),
    device="auto",
    calibration=TextSpec(dataset="a/b"),
    evaluate=EvaluateSpec(),
    cells=(),
)


def digest(settings: Settings = GPTQ, job: Job = JOB, model: str = COMMIT, text: str = COMMIT) -> str:
    cell = Cell(id="x", settings=settings, repository="x")
    return fingerprint(cell, job, model_revision=model, calibration_revision=text)


def with_text(**changes: Any) -> Job:
    return replace(JOB, calibration=replace(JOB.calibration, **changes))


def test_it_is_the_same_in_every_release() -> None:
    """A new value makes every user quantize everything anew: change FORMAT knowingly."""
    assert digest() == "d724d613796d680261f77ee66479deca160fa69d55ad987b5f415f58a37c1479"


def test_what_was_published_before_there_was_effort_stays_until_a_manifest_asks_for_another() -> None:
    assert digest(replace(GPTQ, own={"effort": "standard"})) == digest()
    assert digest(replace(GPTQ, own={"effort": "fast"})) != digest()
    assert digest(replace(GPTQ, own={"effort": "best"})) != digest()


@pytest.mark.parametrize(
    "other",
    [
        digest(replace(GPTQ, bits=8)),
        digest(replace(GPTQ, group_size=64)),
        digest(replace(GPTQ, own={"desc_act": True})),
        digest(replace(GPTQ, own={"sym": False})),
        digest(replace(GPTQ, modules_to_not_convert=("a",))),
        digest(replace(GPTQ, overrides=(Override(modules="a", bits=8),))),
        digest(BNB),
        digest(model="1" * 40),
        digest(text="1" * 40),
        digest(job=with_text(samples=1)),
        digest(job=with_text(sequence_length=8)),
        digest(job=with_text(seed=1)),
        digest(job=with_text(split="test")),
        digest(job=with_text(config="c")),
        digest(job=with_text(column="c")),
        digest(job=with_text(dataset=None, texts=("t",))),
        digest(job=replace(JOB, model=ModelSpec(id="acme/n", name="m"))),
        digest(job=replace(JOB, model=ModelSpec(id="acme/m", name="m", trust_remote_code=True))),
    ],
)
def test_it_changes_with_what_determines_the_output(other: str) -> None:
    assert other != digest()


def test_it_does_not_change_with_anything_else() -> None:
    job = replace(
        JOB,
        id="other",
        device="cuda",
        evaluate=EvaluateSpec(held_out=TextSpec(texts=("t",)), limits={"max_kl_divergence": 0.1}),
        model=ModelSpec(id="acme/m", name="other", revision="v1"),
        calibration=replace(JOB.calibration, revision="v1", allow_short=True),
    )
    cell = Cell(id="other", settings=replace(GPTQ, own={"quant_type": "fp4"}), repository="other/other")
    assert fingerprint(cell, job, model_revision=COMMIT, calibration_revision=COMMIT) == digest()


def test_it_does_not_see_where_a_local_model_or_a_file_lies() -> None:
    jobs = [
        replace(
            JOB,
            model=ModelSpec(id=f"./{place}/m", name="m", local=Path(f"/{place}/m")),
            calibration=TextSpec(files=(Path(f"/{place}/t.txt"),)),
        )
        for place in ("here", "there")
    ]
    assert digest(job=jobs[0]) == digest(job=jobs[1]) != digest()


def test_the_order_of_kept_modules_does_not_matter_but_that_of_overrides_does() -> None:
    first, second = Override(modules="a", bits=8), Override(modules="b", bits=2)
    assert digest(replace(GPTQ, modules_to_not_convert=("a", "b", "a"))) == digest(
        replace(GPTQ, modules_to_not_convert=("b", "a"))
    )
    assert digest(replace(GPTQ, overrides=(first, second))) != digest(
        replace(GPTQ, overrides=(second, first))
    )


def test_a_method_without_calibration_does_not_see_the_text() -> None:
    assert digest(BNB, with_text(samples=1), text="1" * 40) == digest(BNB)


def parts(
    settings: Settings = GPTQ, job: Job = JOB, model: str = COMMIT, text: str = COMMIT
) -> dict[str, str]:
    cell = Cell(id="x", settings=settings, repository="x")
    return inputs(cell, job, model_revision=model, calibration_revision=text)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (parts(model="1" * 40), "base"),
        (parts(replace(GPTQ, group_size=32)), "settings"),
        (parts(text="1" * 40), "calibration"),
        (parts(job=with_text(samples=1)), "calibration"),
    ],
)
def test_each_part_of_it_tells_of_its_own_change_alone(changed: dict[str, str], name: str) -> None:
    before = parts()
    assert [key for key in before if before[key] != changed[key]] == [name]


def test_parts_are_read_back_and_nothing_else_is() -> None:
    assert known_inputs(parts()) == parts()
    assert "calibration" not in parts(BNB)
    assert known_inputs({"base": "\n::error::", "settings": 12, "more": "a" * 40}) == {}
    assert known_inputs(["base"]) == {}
