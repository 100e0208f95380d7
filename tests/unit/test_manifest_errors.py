"""Every mistake in a manifest is told with its place, its path, what is allowed, and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.errors import ExitCode, ManifestError
from quantize_lib.formats import FORMATS
from quantize_lib.manifest import InvalidManifestError, load_manifest, parse_manifest
from quantize_lib.methods import METHODS, SETTINGS


def faults(text: str | bytes, folder: Path) -> list[str]:
    """The lines of the error, without the folder."""
    with pytest.raises(InvalidManifestError) as caught:
        parse_manifest(text, path=folder / "quantize.yml")
    text = str(caught.value).replace(f"{folder}/quantize.yml", "quantize.yml").replace(str(folder), "HERE")
    return text.splitlines()


OF_DEFAULTS = [name for name in SETTINGS if all(method.width_key != name for method in METHODS.values())]
"""What an entry may have of `defaults`; its width is its own."""


def entry(words: str) -> str:
    """A manifest with one entry, whose words begin at 4:18."""
    return f"version: 1\nmodels:\n  - id: acme/m\n    quantize: [{{{words}}}]\n"


def rest(words: str) -> str:
    """A valid manifest followed by more, which begins at line 5."""
    return entry("method: gptq, bits: 4") + words


ENTRY = [
    (
        "method: awq, bits: 5",
        "4:36: models[0].quantize[0].bits: 5 is not allowed for awq "
        "(no loader has other widths). Allowed: 2, 3, 4, 8, auto.",
    ),
    (
        "method: awq, bits: [4, 8]",
        "4:36: models[0].quantize[0].bits: 8 is not allowed for awq "
        "(AWQ's GEMM format has kernels for 4 bits only). Allowed: 4. "
        "Another format may do: `gptq`, `compressed-tensors`.",
    ),
    (
        "method: awq, bits: 4, overrides: [{modules: a, bits: 8}]",
        "4:50: models[0].quantize[0].overrides: not a setting of the format awq "
        "(it has one bit width and one group size for all layers). "
        "Another format may do: `gptq`, `compressed-tensors`.",
    ),
    (
        "method: gptq, bits: 4, format: compressed-tensors, sym: false",
        "4:73: models[0].quantize[0].sym: not a setting of the format compressed-tensors "
        "(transformers reads zero points in one of its two ways of loading only; it is always true). "
        "Another format may do: `gptq`.",
    ),
    (
        "method: gptq, bits: 4, format: compressed-tensors, desc_act: true",
        "4:78: models[0].quantize[0].desc_act: not a setting of the format compressed-tensors "
        "(its loaders know groups of neighbouring inputs only; it is always false). "
        "Another format may do: `gptq`.",
    ),
    (
        "method: gptq, bits: 4, format: awq",
        "4:48: models[0].quantize[0].format: `awq` is not a format of gptq. "
        "Allowed: auto, gptq, compressed-tensors.",
    ),
    (
        "method: gptq, bits: 4, format: compressed_tensors",
        "4:48: models[0].quantize[0].format: `compressed_tensors` is not a format. "
        f"Allowed: auto, {', '.join(FORMATS)}. Perhaps you meant `compressed-tensors`?",
    ),
    (
        "method: gptq, bits: [4, 5]",
        "4:41: models[0].quantize[0].bits[1]: 5 is not allowed for gptq "
        "(its packed format has these widths only). Allowed: 2, 3, 4, 8, auto.",
    ),
    (
        "method: bitsandbytes, bits: 3",
        "4:45: models[0].quantize[0].bits: 3 is not allowed for bitsandbytes "
        "(it has NF4 and FP4 in 4 bits and LLM.int8 in 8 bits). Allowed: 4, 8.",
    ),
    (
        "method: bnb, bits: 4",
        "4:25: models[0].quantize[0].method: `bnb` is not allowed here. "
        f"Allowed: {', '.join(METHODS)}. Perhaps you meant `bitsandbytes`?",
    ),
    (
        "method: GPTQ, bits: 4",
        "4:25: models[0].quantize[0].method: `GPTQ` is not allowed here. "
        f"Allowed: {', '.join(METHODS)}. Perhaps you meant `gptq`?",
    ),
    (
        "method: gptq, bits: 4, groupsize: 64",
        "4:40: models[0].quantize[0].groupsize: unknown key. Allowed: method, bits, format, name, device, "
        f"{', '.join(SETTINGS)}. "
        "Perhaps you meant `group_size`?",
    ),
    ("method: gptq", "4:16: models[0].quantize[0]: the key `bits` is missing."),
    (
        "method: gptq, bits: '4'",
        "4:37: models[0].quantize[0].bits: got the text `4`; write 4 without quotes.",
    ),
    ("method: gptq, bits: []", "4:37: models[0].quantize[0].bits: an empty list; give at least one."),
    ("method: gptq, bits: [4, 4]", "4:41: models[0].quantize[0].bits[1]: 4 stands twice; write it once."),
    (
        "method: gptq, bits: ",
        "4:37: models[0].quantize[0].bits: expected a whole number or text or a list, got nothing (null).",
    ),
    (
        "method: gptq, bits: 4, group_size: 96",
        "4:52: models[0].quantize[0].group_size: 96 is not a group size that the loaders' kernels take. "
        "Allowed: auto, -1, 16, 32, 64, 128.",
    ),
    (
        "method: gptq, bits: 4, desc_act: yes",
        "4:50: models[0].quantize[0].desc_act: expected true or false, got the text `yes`. "
        "Perhaps you meant `true`?",
    ),
    (
        "method: gptq, bits: 4, device: gpu",
        "4:48: models[0].quantize[0].device: `gpu` is not allowed here. Allowed: auto, cpu, cuda, mps. "
        "Perhaps you meant `cpu`?",
    ),
    (
        "method: gptq, bits: 4, quant_type: nf4",
        "4:40: models[0].quantize[0].quant_type: not a setting of gptq "
        "(it chooses the 4-bit data type of bitsandbytes).",
    ),
    (
        "method: awq, bits: 4, desc_act: true",
        "4:39: models[0].quantize[0].desc_act: not a setting of awq "
        "(AWQ keeps the order of the columns; it belongs to gptq).",
    ),
    (
        "method: awq, bits: 4, sym: false",
        "4:39: models[0].quantize[0].sym: not a setting of awq "
        "(AWQ's GEMM format always has zero points; it belongs to gptq).",
    ),
    (
        "method: bitsandbytes, bits: 4, group_size: 64",
        "4:48: models[0].quantize[0].group_size: not a setting of bitsandbytes "
        "(its block sizes are fixed; it belongs to gptq and awq).",
    ),
    (
        "method: bitsandbytes, bits: [8], quant_type: fp4",
        "4:50: models[0].quantize[0].quant_type: not a setting of bitsandbytes with 8 bits "
        "(LLM.int8 has one data type; it belongs to 4 bits).",
    ),
    (
        "method: gptq, bits: 4, overrides: [{modules: '*'}]",
        "4:52: models[0].quantize[0].overrides[0]: an override needs `bits` or `group_size`.",
    ),
    (
        "method: gptq, bits: 4, overrides: [{bits: 8}]",
        "4:52: models[0].quantize[0].overrides[0]: the key `modules` is missing.",
    ),
    (
        "method: gptq, bits: 4, name: -x",
        "4:46: models[0].quantize[0].name: `-x` is not a name that is safe in file names; use "
        "letters, digits, "
        "`-`, `_` and `.`, not `-` or `.` at the start, at most 96.",
    ),
    (
        "method: gptq, bits: 4, name: ../x",
        "4:46: models[0].quantize[0].name: `../x` is not a name that is safe in file names; use "
        "letters, digits, "
        "`-`, `_` and `.`, not `-` or `.` at the start, at most 96.",
    ),
    (
        "method: gptq, bits: 4, name: report.json",
        "4:16: models[0].quantize[0]: the cell's id does not do: `report.json` is the name of the "
        "run's report. "
        "Give the entry another `name:`.",
    ),
    (
        'method: gptq, bits: 4, modules_to_not_convert: ["a\\nb"]',
        '4:65: models[0].quantize[0].modules_to_not_convert[0]: `"a\\nb"` is not allowed here; '
        "write one line without control characters.",
    ),
]


@pytest.mark.parametrize(("words", "message"), ENTRY, ids=[words for words, _ in ENTRY])
def test_a_mistake_in_an_entry_is_told(words: str, message: str, tmp_path: Path) -> None:
    assert faults(entry(words), tmp_path) == [f"quantize.yml:{message}"]


REST = [
    (
        "evalute: {}",
        "5:1: evalute: unknown key. Allowed: version, defaults, models, watch, include, exclude, evaluate, "
        "publish, state, runners. Perhaps you meant `evaluate`?",
    ),
    ("<<: {a: 1}", "5:1: <<: merge keys are not YAML 1.2; use `defaults`, or repeat the settings."),
    (
        "defaults: {name: x}",
        f"5:12: defaults.name: unknown key. Allowed: format, device, {', '.join(OF_DEFAULTS)}, calibration.",
    ),
    (
        "defaults: {calibration: {split: train}}",
        "5:26: defaults.calibration.split: belongs to a data set; give `dataset` too.",
    ),
    (
        "defaults: {calibration: {texts: [a], column: text}}",
        "5:38: defaults.calibration.column: belongs to a data set or to files; give `dataset` or "
        "`files` too.",
    ),
    (
        "defaults: {calibration: {dataset: a/b, texts: [a]}}",
        "5:40: defaults.calibration.texts: not together with `dataset`; "
        "give one of `dataset`, `files` and `texts`.",
    ),
    (
        "defaults: {calibration: {dataset: a/b/c}}",
        "5:35: defaults.calibration.dataset: `a/b/c` is not the id of a data set: use `name` or "
        "`namespace/name` "
        "of letters, digits, `-`, `_`, `.`, a letter or digit at each end.",
    ),
    (
        "defaults: {calibration: {samples: 0}}",
        "5:35: defaults.calibration.samples: 0 is less than 1, the smallest that is allowed.",
    ),
    (
        "defaults: {calibration: {seed: 4294967296}}",
        "5:32: defaults.calibration.seed: 4294967296 is more than 4294967295, the largest that is allowed.",
    ),
    (
        "defaults: {calibration: {samples: 1_000}}",
        "5:35: defaults.calibration.samples: expected a whole number, got the text `1_000`.",
    ),
    (
        "defaults: {calibration: {dataset: a/b, revision: 2024}}",
        "5:50: defaults.calibration.revision: expected text, got 2024. Write it in quotes.",
    ),
    (
        "defaults: {calibration: {texts: ['']}}",
        "5:34: defaults.calibration.texts[0]: empty.",
    ),
    (
        "defaults: {calibration: {files: [none/*.txt]}}",
        "5:34: defaults.calibration.files[0]: no file matches `none/*.txt` in `HERE`.",
    ),
    (
        "evaluate: {perplexity: {samples: 4}}",
        "5:24: evaluate.perplexity: needs one of `dataset`, `files`, `texts` and `mix`.",
    ),
    (
        "evaluate: {texts: {code: {texts: [a]}}}",
        "5:19: evaluate.texts: nothing to measure it on; give `perplexity`, the held-out text, too.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, texts: {Code: {texts: [a]}}}",
        "5:45: evaluate.texts: `Code` is not a name for a text; write small letters, digits, - and _, "
        "at most 40.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, texts: {code: {texts: [a], sequence_length: 4}}}",
        "5:65: evaluate.texts.code.sequence_length: unknown key. Allowed: dataset, config, split, column, "
        "revision, files, texts, chat_template_kwargs, mix, samples, seed, max_perplexity_increase, "
        "max_kl_divergence, min_top_token_agreement.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, texts: {code: {samples: 4}}}",
        "5:52: evaluate.texts.code: needs one of `dataset`, `files`, `texts` and `mix`.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, texts: {code: {files: [gone.txt]}}}",
        "5:61: evaluate.texts.code.files[0]: no file matches `gone.txt` in `HERE`.",
    ),
    (
        "evaluate: {max_size: 12}",
        "5:22: evaluate.max_size: expected text, got 12. Write it in quotes.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, min_top_token_agreement: 90}",
        "5:63: evaluate.min_top_token_agreement: 90 is not a share; write a percentage such as 90%, "
        "or a fraction from 0 to 1 such as 0.9.",
    ),
    (
        "evaluate: {max_perplexity_increase: 15%}",
        "5:37: evaluate.max_perplexity_increase: nothing to measure it on; "
        "give `perplexity`, the held-out text, too.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, choose: smallest}",
        "5:46: evaluate.choose: no limit to choose by; give `max_perplexity_increase`, "
        "`max_kl_divergence` or `min_top_token_agreement`, which the smallest has to meet, too.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, max_kl_divergence: 1, choose: small}",
        "5:68: evaluate.choose: `small` is not a choice. Allowed: all, smallest. "
        "Perhaps you meant `smallest`?",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, max_perplexity_increase: 15}",
        "5:63: evaluate.max_perplexity_increase: 15 is not a limit; write a percentage such as 15%, "
        "or a fraction from 0 to 10 such as 0.15.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, max_perplexity_increase: lots}",
        "5:63: evaluate.max_perplexity_increase: `lots` is not a limit; write a percentage such as 15%, "
        "or a fraction from 0 to 10 such as 0.15.",
    ),
    (
        'evaluate: {perplexity: {texts: [a]}, max_perplexity_increase: "15%\\n"}',
        '5:63: evaluate.max_perplexity_increase: `"15%\\n"` is not a limit; write a percentage such as 15%, '
        "or a fraction from 0 to 10 such as 0.15.",
    ),
    (
        "evaluate: {perplexity: {texts: [a]}, max_kl_divergence: .inf}",
        "5:57: evaluate.max_kl_divergence: expected a number, got the text `.inf`.",
    ),
    (
        "publish: {name: '{modle}-{method}-{bits}'}",
        "5:17: publish.name: unknown placeholder `{modle}`. Allowed: {model}, {method}, {bits}, {name}. "
        "Perhaps you meant `model`?",
    ),
    ("publish: {name: '{model'}", "5:17: publish.name: `{model` has a brace without its partner."),
    (
        "publish: {name: '{model}/../{bits}'}",
        "5:17: publish.name: `{model}/../{bits}` is not a template; use letters, digits, `-`, `_`, "
        "`.` and the "
        "placeholders {model}, {method}, {bits}, {name}.",
    ),
    (
        "publish: {name: '{model}--{bits}'}",
        "4:16: models[0].quantize[0]: the repository `m--4` is not a name that the Hub takes: "
        "`--` and `..` are not allowed.",
    ),
    (
        "publish: {namespace: ../x}",
        "5:22: publish.namespace: `../x` is not a namespace; use letters, digits, `-`, `_` and `.`, "
        "with a letter or digit at both ends.",
    ),
    (
        "publish: {to: hug}",
        "5:15: publish.to: `hug` is not allowed here. Allowed: directory, hub. Perhaps you meant `hub`?",
    ),
    ("publish: {tag: true}", "5:16: publish.tag: a folder has none; it is for `to: hub`."),
    ("publish: {collection: mine}", "5:23: publish.collection: a folder has none; it is for `to: hub`."),
    ("publish: {pull_request: true}", "5:25: publish.pull_request: a folder has none; it is for `to: hub`."),
    (
        "publish: {card: {licence: mit}}",
        "5:18: publish.card.licence: unknown key. Allowed: license, license_name, license_link, language, "
        "tags. Perhaps you meant `license`?",
    ),
    (
        "publish: {card: {license: MIT or so}}",
        "5:27: publish.card.license: `MIT or so` is no licence id of the Hub.",
    ),
    (
        "publish: {card: {license: [mit, apachee 2.0]}}",
        "5:27: publish.card.license: `apachee 2.0` is no licence id of the Hub. "
        "Perhaps you meant `apache-2.0`?",
    ),
    (
        "publish: {card: {license: other, license_name: 某}}",
        "5:48: publish.card.license_name: `某` has no letter or digit that the Hub takes.",
    ),
    (
        "publish: {card: {license_link: ./LICENSE.txt}}",
        "5:32: publish.card.license_link: `./LICENSE.txt` is neither an address (https://…) nor `LICENSE` or "
        "`LICENSE.md`.",
    ),
    (
        "publish: {card: {language: [en, Englisch]}}",
        "5:28: publish.card.language: `Englisch` is no language; use ISO 639 codes, such as `en`. "
        "Perhaps you meant `english`?",
    ),
    (
        "publish: {card: {tags: ['a, b']}}",
        "5:24: publish.card.tags: `a, b` is no tag; a tag has no comma, and no space at either end.",
    ),
    ("publish: {card: {license: 1.0}}", "5:27: publish.card.license: expected text or a list, got 1."),
    ("publish: {card: {language: []}}", "5:28: publish.card.language: an empty list; give at least one."),
    (
        "publish: {to: hub, pull_request: true, tag: true}",
        "5:45: publish.tag: not together with `pull_request`: it follows a commit on `main`.",
    ),
    (
        "publish: {to: hub, collection: '{name}'}",
        "5:32: publish.collection: `{name}` is not a title; use one line of text, and no braces but those of "
        "{model}.",
    ),
    ("runners: {cpu: ubuntu-latest}", "5:16: runners.cpu: expected a list, got the text `ubuntu-latest`."),
    ("include: [{}]", "5:11: include[0]: a combination needs at least one of `model`, `method` and `bits`."),
    (
        "include: [{method: awq}]",
        "5:11: include[0]: matches no cell; every combination of its values is absent from `models`.",
    ),
    (
        "exclude: [{model: mm}]",
        "5:11: exclude[0]: no model is called `mm`. Allowed: m. Perhaps you meant `m`?",
    ),
    (
        "exclude: [{method: gptq}]",
        "5:10: exclude: nothing is left to make; every combination is left out.",
    ),
]


@pytest.mark.parametrize(("words", "message"), REST, ids=[words for words, _ in REST])
def test_a_mistake_elsewhere_is_told(words: str, message: str, tmp_path: Path) -> None:
    assert faults(rest(words), tmp_path) == [f"quantize.yml:{message}"]


MODEL = [
    ("id: ./none", "3:9: models[0].id: no such folder: `HERE/none`."),
    ("id: ./file", "3:9: models[0].id: `HERE/file` is not a folder."),
    (
        "id: a/b/c",
        "3:9: models[0].id: `a/b/c` is neither a folder here nor the id of a model on the Hub: use `name` or "
        "`namespace/name` of letters, digits, `-`, `_`, `.`, a letter or digit at each end.",
    ),
    ("id: ''", "3:9: models[0].id: empty."),
    ("id: 7", "3:9: models[0].id: expected text, got 7. Write it in quotes."),
    ("id: acme/m, revision: '-x'", "3:27: models[0].revision: `-x` is not a branch, tag or commit."),
    (
        "id: ./folder, revision: main",
        "3:29: models[0].revision: a local folder has no revisions; it is told apart by its content.",
    ),
    (
        "id: acme/m, trust_remote_code: true",
        "3:5: models[0]: `trust_remote_code: true` needs a `revision` that is a full commit "
        "(40 hexadecimal digits), so that the code cannot change unseen.",
    ),
    (
        "id: acme/m, trust_remote_code: true, revision: main",
        "3:52: models[0].revision: `main` is not a full commit, which `trust_remote_code: true` needs "
        "(40 hexadecimal digits), so that the code cannot change unseen.",
    ),
    (
        "id: ./odd name",
        "3:9: models[0].id: the model's name does not do: `odd name` is not a name that is safe in "
        "file names; "
        "use letters, digits, `-`, `_` and `.`, not `-` or `.` at the start, at most 96. "
        "Give the model a `name:`.",
    ),
]


@pytest.mark.parametrize(("words", "message"), MODEL, ids=[words for words, _ in MODEL])
def test_a_mistake_in_a_model_is_told(words: str, message: str, tmp_path: Path) -> None:
    for folder in ("folder", "odd name"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    text = f"version: 1\nmodels:\n  - {{{words}, quantize: [{{method: awq, bits: 4}}]}}\n"
    # The words begin one character further right than in block style.
    line, column, message = message.split(":", 2)
    shift = 0 if message.startswith(" models[0]: ") else 1
    assert faults(text, tmp_path) == [f"quantize.yml:{line}:{int(column) + shift}:{message}"]


YAML = [
    (b"", "quantize.yml: empty; a manifest has at least `version: 1` and `models:`"),
    (b"# words\n", "quantize.yml: empty; a manifest has at least `version: 1` and `models:`"),
    (
        b"- version: 1\n",
        "quantize.yml:1:1: expected a mapping with `version:` and `models:` at the top, got a list",
    ),
    (b"word", "quantize.yml:1:1: expected a mapping with `version:` and `models:` at the top, got `word`"),
    (b"a:\n\tb: 1\n", "quantize.yml:2:1: a tab in the indentation; YAML is indented with spaces"),
    ("a: 1".encode("utf-16"), "quantize.yml: encoded as UTF-16; save it as UTF-8"),
    (b"a: 1\nb: caf\xe9\n", "quantize.yml:2:7: not UTF-8 here; save the file as UTF-8"),
    (b"a: 1\nb: \x00\n", "quantize.yml:2:4: the character U+0000 is not allowed in YAML; remove it"),
    (b"a: *b\n", "quantize.yml:1:4: the alias *b names nothing; there is no &b before it"),
    (b"a: &a [*a]\n", "quantize.yml:1:8: the alias *a stands inside what it names, so it would never end"),
    (b"a: 1\n---\nb: 1\n", "quantize.yml:2:1: a second document starts here; a manifest is one document"),
    (b"? [a]\n: 1\n", "quantize.yml:1:3: a key that is a list or a mapping; keys are words"),
    (b"a: " + b"[" * 40, "quantize.yml:1:35: nested deeper than 32 levels"),
    (b"a: " + b"#" * (1 << 20), "quantize.yml: larger than 1048576 bytes; a manifest is a few kilobytes"),
]


@pytest.mark.parametrize(("data", "message"), YAML, ids=[repr(data[:16]) for data, _ in YAML])
def test_bad_yaml_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    assert faults(data, tmp_path) == [message]


def test_aliases_cannot_use_up_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert faults("\n".join(lines), tmp_path) == [
        "quantize.yml:4:55: more than 10000 values, aliases written out; split the manifest"
    ]


def test_every_value_that_stands_twice_is_told(tmp_path: Path) -> None:
    assert faults(entry("method: gptq, bits: [8, 4, 8, 4]"), tmp_path) == [
        "quantize.yml:4:44: models[0].quantize[0].bits[2]: 8 stands twice; write it once.",
        "quantize.yml:4:47: models[0].quantize[0].bits[3]: 4 stands twice; write it once.",
    ]


@pytest.mark.parametrize("escape", ["\\ud83d", "\\ud83d\\ude00", "\\udc00"])
def test_half_a_character_in_the_manifest_is_told_with_its_place(escape: str, tmp_path: Path) -> None:
    (message,) = faults(rest(f'defaults: {{calibration: {{texts: ["cut {escape}"]}}}}\n'), tmp_path)
    assert message.startswith("quantize.yml:5:")
    assert "half of a " in message


def test_a_key_given_twice_is_told_with_both_places(tmp_path: Path) -> None:
    assert faults(rest("version: 1\n"), tmp_path) == [
        "quantize.yml:5:1: the key `version` is given twice; it stands at 1:1 already"
    ]


def test_a_tag_is_refused(tmp_path: Path) -> None:
    assert faults(rest("defaults: !!python/object:os.system {}\n"), tmp_path) == [
        "quantize.yml:5:11: the tag `tag:yaml.org,2002:python/object:os.system` is not allowed; "
        "a manifest is plain data"
    ]


def test_cells_of_one_id_are_told_with_the_other_place(tmp_path: Path) -> None:
    text = entry("method: gptq, bits: [4, 8]}, {method: gptq, bits: 4, group_size: 32")
    assert faults(text, tmp_path) == [
        "quantize.yml:4:46: models[0].quantize[1]: the cell id `m-gptq-4bit` is that of "
        "models[0].quantize[0] "
        "(line 4, column 16) too. Give one of the entries a `name:`."
    ]


def test_models_of_one_name_are_told_also_where_only_case_differs(tmp_path: Path) -> None:
    text = (
        "version: 1\nmodels:\n"
        "  - {id: a/m, quantize: [{method: awq, bits: 4}]}\n"
        "  - {id: b/M, quantize: [{method: gptq, bits: 4}]}\n"
    )
    assert faults(text, tmp_path) == [
        "quantize.yml:4:5: models[1]: the model's name `M` is that of models[0] (line 3, column 5) too. "
        "Give one a `name:`."
    ]


def test_cells_of_one_repository_are_told(tmp_path: Path) -> None:
    text = entry("method: gptq, bits: [4, 8]") + "publish: {name: '{model}-{method}', namespace: acme}\n"
    assert faults(text, tmp_path) == [
        "quantize.yml:4:16: models[0].quantize[0]: the repository `acme/m-gptq` of `m-gptq-8bit` is that of "
        "`m-gptq-4bit` (models[0].quantize[0] (line 4, column 16)) too. Give `publish.name` what tells them "
        "apart: {model}, {method}, {bits} or {name}."
    ]


def test_every_problem_is_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "version: 2\n"
        "models:\n"
        "  - id: ./none\n"
        "    quantize:\n"
        "      - {method: awq, bits: 8}\n"
        "      - {method: gptq, bit: 4}\n"
        "publish: {to: hub, privat: true}\n"
        "models: []\n"
    )
    places = [line.split(": ")[0] + " " + line.split(": ")[1] for line in faults(text, tmp_path)]
    assert places == [
        "quantize.yml:1:10 version",
        "quantize.yml:3:9 models[0].id",
        "quantize.yml:5:29 models[0].quantize[0].bits",
        "quantize.yml:6:9 models[0].quantize[1]",
        "quantize.yml:6:24 models[0].quantize[1].bit",
        "quantize.yml:7:20 publish.privat",
        "quantize.yml:8:1 the key `models` is given twice; it stands at 2:1 already",
    ]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "none.yml")
    assert caught.value.message == f"{tmp_path}/none.yml: no such file"
    assert caught.value.hint == "Name the manifest, as in `model-quantizer run quantize.yml`."
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path)
    assert caught.value.message == f"{tmp_path}: a folder, not a manifest"
    assert caught.value.hint == f"Perhaps you meant {tmp_path}/quantize.yml?"


def test_a_long_or_unprintable_value_stays_on_one_line(tmp_path: Path) -> None:
    (line,) = faults(entry(f'method: "\\e[31m{"x" * 500}", bits: 4'), tmp_path)
    assert line.startswith('quantize.yml:4:25: models[0].quantize[0].method: `"\\u001b[31mxxx')
    assert line.isprintable()
    assert len(line) < 200


def test_a_long_list_of_names_is_cut(tmp_path: Path) -> None:
    models = "".join(f"  - {{id: a/m{n}, quantize: [{{method: awq, bits: 4}}]}}\n" for n in range(30))
    (line,) = faults(f"version: 1\nmodels:\n{models}exclude: [{{model: z}}]", tmp_path)
    assert line.endswith("Allowed: " + ", ".join(f"m{n}" for n in range(24)) + " and 6 more.")
