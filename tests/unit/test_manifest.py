"""What a valid manifest becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.manifest import InvalidManifestError, load_manifest, parse_manifest
from quantize_lib.methods.settings import Override, Settings
from quantize_lib.names import repository_fault
from quantize_lib.plan.cells import Cell, EvaluateSpec, Job, Plan, RunnersSpec
from quantize_lib.targets import publish_spec
from quantize_lib.targets.directory import PATH


def parsed(text: str, folder: Path) -> Plan:
    return parse_manifest(text, path=folder / "quantize.yml")


def one(words: str, folder: Path, rest: str = "") -> Job:
    """The only model of a manifest with the given `quantize` entries."""
    text = f"version: 1\nmodels:\n  - id: acme/m\n    quantize: [{words}]\n{rest}"
    (model,) = parsed(text, folder).jobs
    return model


def cells(model: Job) -> list[Cell]:
    return list(model.cells)


def test_the_least_manifest_gets_every_default(tmp_path: Path) -> None:
    manifest = parsed("version: 1\nmodels: [{id: acme/m, quantize: [{method: gptq, bits: 4}]}]", tmp_path)
    (model,) = manifest.jobs
    assert model.calibration == TextSpec(dataset="Salesforce/wikitext", config="wikitext-2-raw-v1")
    assert model.evaluate == EvaluateSpec()
    assert manifest.publish == publish_spec("directory", path=tmp_path / "published")
    assert manifest.runners == RunnersSpec()
    assert cells(model) == [
        Cell(id="m-gptq-4bit", settings=Settings(method="gptq", bits=4), repository="m-gptq-4bit")
    ]
    assert model.device == "auto"
    assert manifest.manifest == tmp_path / "quantize.yml"


def test_bits_may_be_a_list(tmp_path: Path) -> None:
    model = one("{method: bitsandbytes, bits: [4, 8]}, {method: awq, bits: [4]}", tmp_path)
    assert [cell.id for cell in cells(model)] == ["m-bnb-4bit", "m-bnb-8bit", "m-awq-4bit"]


def test_a_setting_goes_from_entry_to_model_to_defaults(tmp_path: Path) -> None:
    text = """
        version: 1
        defaults: {group_size: 16, desc_act: true, sym: false}
        models:
          - id: acme/m
            defaults: {group_size: 32, desc_act: false}
            quantize: [{method: gptq, bits: 4, group_size: 64}, {method: gptq, bits: 8}]
    """
    (model,) = parsed(text, tmp_path).jobs
    assert [cell.settings for cell in cells(model)] == [
        Settings(method="gptq", bits=4, group_size=64, own={"desc_act": False, "sym": False}),
        Settings(method="gptq", bits=8, group_size=32, own={"desc_act": False, "sym": False}),
    ]


def test_defaults_that_a_method_does_not_take_are_passed_over(tmp_path: Path) -> None:
    rest = "defaults: {desc_act: true, sym: false, group_size: 32, quant_type: fp4, overrides: [" \
        "{modules: '*', bits: 8}]}"  # fmt: skip
    model = one("{method: awq, bits: 4}, {method: bitsandbytes, bits: [4, 8]}", tmp_path, rest)
    assert [cell.settings for cell in cells(model)] == [
        Settings(method="awq", bits=4, group_size=32),
        Settings(method="bitsandbytes", bits=4, own={"quant_type": "fp4"}),
        Settings(method="bitsandbytes", bits=8),
    ]


def test_overrides_and_kept_modules_are_resolved(tmp_path: Path) -> None:
    words = (
        "{method: gptq, bits: 3, modules_to_not_convert: ['a.*'], overrides: [{modules: b, group_size: -1}]}"
    )
    (cell,) = cells(one(words, tmp_path))
    assert cell.settings.modules_to_not_convert == ("a.*",)
    assert cell.settings.overrides == (Override(modules="b", group_size=-1),)


def test_a_name_replaces_the_id_and_a_list_of_bits_is_appended(tmp_path: Path) -> None:
    words = "{method: gptq, bits: 4, name: x}, {method: gptq, bits: [4], name: y}"
    assert [cell.id for cell in cells(one(words, tmp_path))] == ["x", "y-4bit"]


@pytest.mark.parametrize(
    ("template", "repository"),
    [(None, "acme/x"), ("{model}-{bits}", "acme/x"), ("q-{name}", "acme/q-x")],
)
def test_a_named_entry_is_published_under_its_name(
    template: str | None, repository: str, tmp_path: Path
) -> None:
    name = f", name: '{template}'" if template else ""
    model = one("{method: gptq, bits: 4, name: x}", tmp_path, f"publish: {{namespace: acme{name}}}")
    assert cells(model)[0].repository == repository


def test_a_name_template_is_rendered(tmp_path: Path) -> None:
    rest = "publish: {namespace: acme, name: '{method}.{model}.{bits}.{name}', to: hub, private: false}"
    model = one("{method: bitsandbytes, bits: 8}", tmp_path, rest)
    assert cells(model)[0].repository == "acme/bnb.m.8.m-bnb-8bit"


def test_include_keeps_and_exclude_drops(tmp_path: Path) -> None:
    text = """
        version: 1
        models:
          - {id: acme/a, quantize: [{method: gptq, bits: [4, 8]}, {method: awq, bits: 4}]}
          - {id: acme/b, quantize: [{method: gptq, bits: [4, 8]}, {method: awq, bits: 4}]}
          - {id: acme/c, quantize: [{method: awq, bits: 4}]}
        include: [{model: a}, {model: acme/b, method: gptq}]
        exclude: [{bits: 8}]
    """
    manifest = parsed(text, tmp_path)
    assert [[cell.id for cell in cells(model)] for model in manifest.jobs] == [
        ["a-gptq-4bit", "a-awq-4bit"],
        ["b-gptq-4bit"],
    ]


def test_excluding_a_repetition_leaves_no_problem(tmp_path: Path) -> None:
    words = "{method: gptq, bits: [4, 8]}, {method: gptq, bits: 4, group_size: 32, name: m-gptq-8bit}"
    model = one(words, tmp_path, "exclude: [{method: gptq, bits: 8}]")
    assert [cell.id for cell in cells(model)] == ["m-gptq-4bit", "m-gptq-8bit"]


@pytest.mark.parametrize("written", ["./sub/model", "sub/model", "sub/../sub/model/"])
def test_a_folder_beside_the_manifest_is_a_local_model(written: str, tmp_path: Path) -> None:
    (tmp_path / "sub" / "model").mkdir(parents=True)
    text = f"version: 1\nmodels: [{{id: {written}, quantize: [{{method: awq, bits: 4}}]}}]"
    spec = parsed(text, tmp_path).jobs[0].model
    assert (spec.id, spec.name, spec.local) == (written, "model", tmp_path / "sub" / "model")


def test_a_link_to_a_folder_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "3f2a").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "3f2a")
    text = "version: 1\nmodels: [{id: ./mine, quantize: [{method: awq, bits: 4}]}]"
    assert parsed(text, tmp_path).jobs[0].model.name == "mine"


def test_a_hub_model_is_not_local(tmp_path: Path) -> None:
    text = "version: 1\nmodels: [{id: gpt2, revision: refs/pr/1, quantize: [{method: awq, bits: 4}]}]"
    spec = parsed(text, tmp_path).jobs[0].model
    assert (spec.name, spec.local, spec.revision) == ("gpt2", None, "refs/pr/1")


def test_remote_code_is_allowed_at_a_full_commit(tmp_path: Path) -> None:
    commit = "0123456789" * 4
    text = (
        f"version: 1\nmodels: [{{id: a/m, trust_remote_code: true, revision: '{commit}', "
        "quantize: [{method: awq, bits: 4}]}]"
    )
    spec = parsed(text, tmp_path).jobs[0].model
    assert (spec.trust_remote_code, spec.revision) == (True, commit)


def test_calibration_is_merged_key_by_key_but_its_source_as_a_whole(tmp_path: Path) -> None:
    text = """
        version: 1
        defaults: {calibration: {dataset: a/b, config: c, column: d, samples: 5}}
        models:
          - {id: x/amount, calibration: {seed: 7}, quantize: [{method: awq, bits: 4}]}
          - {id: x/source, calibration: {texts: [e]}, quantize: [{method: awq, bits: 4}]}
          - {id: x/other, calibration: {dataset: f}, quantize: [{method: awq, bits: 4}]}
    """
    assert [model.calibration for model in parsed(text, tmp_path).jobs] == [
        TextSpec(dataset="a/b", config="c", column="d", samples=5, seed=7),
        TextSpec(texts=("e",), samples=5),
        TextSpec(dataset="f", samples=5),
    ]


def test_evaluation_is_merged_key_by_key(tmp_path: Path) -> None:
    text = """
        version: 1
        models:
          - {id: x/a, evaluate: {max_perplexity_increase: 0.5}, quantize: [{method: awq, bits: 4}]}
          - {id: x/b, quantize: [{method: awq, bits: 4}]}
        evaluate: {perplexity: {texts: [t]}, max_perplexity_increase: 12.5%, max_kl_divergence: 1}
    """
    a, b = (model.evaluate for model in parsed(text, tmp_path).jobs)
    assert a == EvaluateSpec(
        held_out=TextSpec(texts=("t",)),
        conversations=TextSpec(built_in=True, optional=True, samples=8),
        limits={"max_perplexity_increase": 0.5, "max_kl_divergence": 1.0},
    )
    assert b.limits["max_perplexity_increase"] == 0.125


def test_a_model_may_choose_otherwise_than_the_others(tmp_path: Path) -> None:
    text = """
        version: 1
        models:
          - {id: x/a, quantize: [{method: awq, bits: 4}]}
          - {id: x/b, evaluate: {choose: all}, quantize: [{method: awq, bits: 4}]}
        evaluate: {perplexity: {texts: [t]}, max_kl_divergence: 1, choose: smallest}
    """
    assert [job.evaluate.choose for job in parsed(text, tmp_path).jobs] == ["smallest", "all"]
    assert EvaluateSpec().choose == "all"


def test_a_choice_by_a_models_own_limit_is_no_error_but_one_by_none_is(tmp_path: Path) -> None:
    text = """
        version: 1
        models:
          - {id: x/a, evaluate: {max_kl_divergence: 1}, quantize: [{method: awq, bits: 4}]}
          - {id: x/b, evaluate: %s, quantize: [{method: awq, bits: 4}]}
        evaluate: {perplexity: {texts: [t]}, choose: smallest}
    """
    parsed(text % "{choose: all}", tmp_path)
    for own, place in (("{}", "evaluate.choose"), ("{choose: smallest}", r"models\[1\].evaluate.choose")):
        with pytest.raises(InvalidManifestError, match=f" {place}: no limit to choose by") as raised:
            parsed(text % own, tmp_path)
        assert len(raised.value.problems) == 1
    with pytest.raises(InvalidManifestError, match="expected a number") as raised:
        parsed(text % "{max_kl_divergence: lots}", tmp_path)
    assert len(raised.value.problems) == 1


def test_a_limit_for_all_is_told_once_wherever_a_model_without_text_stands(tmp_path: Path) -> None:
    text = """
        version: 1
        models:
          - {id: x/a, evaluate: {perplexity: {texts: [t]}}, quantize: [{method: awq, bits: 4}]}
          - {id: x/b, quantize: [{method: awq, bits: 4}]}
          - {id: x/c, quantize: [{method: awq, bits: 4}]}
        evaluate: {max_kl_divergence: 1}
    """
    with pytest.raises(InvalidManifestError, match=r" evaluate\.max_kl_divergence: nothing to mea") as raised:
        parsed(text, tmp_path)
    assert len(raised.value.problems) == 1


def test_files_are_found_beside_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "odd [name]"
    (folder / "texts" / "deep").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "deep/c.txt", "d[1].txt", "e.md"):
        (folder / "texts" / name).touch()
    rest = "defaults: {calibration: {files: ['texts/d[1].txt', texts/**/*.txt]}}"
    found = one("{method: awq, bits: 4}", folder, rest).calibration.files
    assert [file.relative_to(folder / "texts").as_posix() for file in found] == [
        "d[1].txt", "a.txt", "b.txt", "deep/c.txt",
    ]  # fmt: skip


def test_what_the_cards_are_to_say_is_put_into_the_hubs_words(tmp_path: Path) -> None:
    card = (
        "{license: [Apache 2.0, MIT], license_name: Acme License, license_link: ./LICENSE, "
        "language: [English, EN, no], tags: [finance, two words]}"
    )
    text = (
        f"version: 1\nmodels: [{{id: a/m, quantize: [{{method: awq, bits: 4}}]}}]\npublish: {{card: {card}}}"
    )
    assert parsed(text, tmp_path).publish.card == {
        "license": ["apache-2.0", "mit"],
        "license_name": "acme-license",
        "license_link": "LICENSE",
        "language": ["en", "no"],
        "tags": ["finance", "two words"],
    }


def test_publishing_into_a_folder_is_relative_to_the_manifest(tmp_path: Path) -> None:
    text = "version: 1\nmodels: [{id: a/m, quantize: [{method: awq, bits: 4}]}]\npublish: {path: ../out}"
    assert parsed(text, tmp_path / "sub").publish[PATH] == tmp_path / "out"


def test_experimental_bits_are_warned_of(tmp_path: Path) -> None:
    text = "version: 1\nmodels: [{id: a/m, quantize: [{method: gptq, bits: [2, 4]}]}]"
    assert parsed(text, tmp_path).warnings == (
        "m-gptq-2bit: 2 bits are experimental for gptq: few kernels load them, and quality drops.",
    )


def test_in_compressed_tensors_3_bits_are_not_experimental(tmp_path: Path) -> None:
    cell = "{method: gptq, bits: [2, 3], format: compressed-tensors}"
    text = f"version: 1\nmodels: [{{id: a/m, quantize: [{cell}]}}]"
    (warning,) = parsed(text, tmp_path).warnings
    assert "2 bits are experimental" in warning


def test_a_file_is_read_with_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "quantize.yml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\r\nmodels: [{id: a/m, quantize: [{method: awq, bits: 4}]}]\r\n")
    assert load_manifest(path).jobs[0].model.id == "a/m"


@pytest.mark.parametrize(
    ("written", "samples"), [("1e3", 1000), ("1.0", 1), ("!!int 12", 12), ("&n 7", 7), ("+5", 5)]
)
def test_a_number_is_what_yaml_1_2_says(written: str, samples: int, tmp_path: Path) -> None:
    model = one("{method: awq, bits: 4}", tmp_path, f"defaults: {{calibration: {{samples: {written}}}}}")
    assert model.calibration.samples == samples


@pytest.mark.parametrize(
    "written", ["on", "2026-11-25", "010", "12:30:45", "'7'", "!!str 7", "0x10", "1e999"]
)
def test_text_stays_text(written: str, tmp_path: Path) -> None:
    model = one("{method: awq, bits: 4}", tmp_path, f"defaults: {{calibration: {{texts: [{written}]}}}}")
    assert model.calibration.texts == (written.strip("'").removeprefix("!!str "),)


def test_an_alias_means_what_it_names(tmp_path: Path) -> None:
    text = (
        "version: 1\nmodels:\n"
        "  - {id: a/m, quantize: &q [{method: awq, bits: 4}]}\n"
        "  - {id: a/n, quantize: *q}\n"
    )
    assert [model.cells[0].id for model in parsed(text, tmp_path).jobs] == ["m-awq-4bit", "n-awq-4bit"]


GOOD = ["a", "a/b", "A_b.c-d/e", "_a_", "a.git/b"]
BAD = ["", "/", "a/", "/a", "a/b/c", "-a", "a-", ".a", "a.", "a--b", "a..b", "a.git", "a b", "a/-b", "a./b"]
EDGES = ["a\n", "ä", "x" * 96, "x" * 97, "a/" + "x" * 94, "a/" + "x" * 95]
NAMES = [*GOOD, *BAD, *EDGES]


@pytest.mark.parametrize("name", NAMES)
def test_repository_names_are_those_of_the_hub_client(name: str) -> None:
    """Ours may refuse more (letters that are not ASCII, a length that the Hub refuses), never less."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        assert repository_fault(name)
    else:
        assert (repository_fault(name) is None) == (name.isascii() and 0 < len(name) <= 96)


def test_further_texts_have_names_and_limits_and_sequences_as_long_as_the_first(tmp_path: Path) -> None:
    rest = """evaluate:
  perplexity: {texts: [a], sequence_length: 64}
  max_size: 1.2 GB
  texts:
    code: {texts: [b], samples: 3, max_kl_divergence: 0.3, min_top_token_agreement: 90%}
    german: {texts: [c]}
"""
    found = one("{method: awq, bits: 4}", tmp_path, rest).evaluate
    assert found.texts == {
        "code": TextSpec(texts=("b",), samples=3, sequence_length=64),
        "german": TextSpec(texts=("c",), sequence_length=64),
    }
    assert found.limits == {
        "max_size": 1.2e9,
        "texts.code.max_kl_divergence": 0.3,
        "texts.code.min_top_token_agreement": 0.9,
    }
    assert found.carried == TextSpec(texts=("a",), samples=128 + 3 + 128, sequence_length=64)


def test_a_size_needs_no_text_and_a_limit_on_a_further_text_is_enough_to_choose_by(tmp_path: Path) -> None:
    sized = one("{method: awq, bits: 4}", tmp_path, "evaluate: {max_size: 850 MB}\n").evaluate
    assert (sized.held_out, sized.carried, sized.limits) == (None, None, {"max_size": 850e6})
    rest = """evaluate:
  choose: smallest
  perplexity: {texts: [a]}
  texts: {code: {texts: [b], max_kl_divergence: 1}}
"""
    assert one("{method: awq, bits: 4}", tmp_path, rest).evaluate.choose == "smallest"
