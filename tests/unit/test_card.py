"""The model card: true, complete where it can be, and safe whatever it is told."""

from __future__ import annotations

import ast
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.card import quality_beside, render_card
from quantize_lib.card.snippets import snippets
from quantize_lib.job.records import TextPart
from quantize_lib.methods.settings import Override, Settings, settings_of
from quantize_lib.metrics import Figure, Outcome, Verdict
from quantize_lib.plan.cells import Cell, EvaluateSpec, Job
from quantize_lib.report.records import CellRecord, TextFigures
from quantize_lib.source.facts import ModelFacts, ModelSource, Terms
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.text import format_bytes, format_duration
from tests.support.records import MEASURED, RECORD, RELOAD, TEXT, with_figure

HOSTILE = (
    "x|y\n---\nlicense: mit\n# <script>alert(1)</script> `a` [b](javascript:c) {{ 7*7 }} {% raw %} \x1b[31m"
)
CARD = {
    "license": "apache-2.0",
    "language": ["en", "no"],
    "pipeline_tag": "text-generation",
    "base_model": "HuggingFaceTB/SmolLM2-135M",
    "datasets": ["training/data"],
    "tags": ["onnx"],
}
CELL = Cell(id=RECORD.id, settings=Settings(method="gptq", bits=4), repository=str(RECORD.repository))
MODEL = ModelSpec(id=RECORD.model, name="SmolLM2-135M-Instruct")


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card as the Hub's own client reads it."""

    data: dict[str, Any]
    text: str


def source(card: dict[str, Any] | None = None, **config: Any) -> ModelSource:
    return ModelSource(
        folder=Path("model"),
        facts=ModelFacts(
            config={"architectures": ["LlamaForCausalLM"], **config},
            revision="a" * 40,
            tensors={},
            layers=(),
            weight_bytes=1,
            download_bytes=0,
        ),
        license=None if card is None else card.get("license"),
        card=card or {},
    )


def render(
    record: CellRecord = RECORD,
    *,
    card: dict[str, Any] | None = CARD,
    model: ModelSpec = MODEL,
    cell: Cell = CELL,
    command: str = "model-quantizer run quantize.yml",
    given: Mapping[str, Any] | None = None,
    siblings: Sequence[CellRecord] = (),
    picture: bool = False,
    **config: Any,
) -> Card:
    job = Job(
        id="job",
        model=model,
        device="cpu",
        calibration=TextSpec(),
        evaluate=EvaluateSpec(),
        cells=(cell,),
    )
    base = source(card, **config)
    text = render_card(
        record,
        source=base,
        cell=cell,
        job=job,
        command=command,
        given=given,
        siblings=siblings,
        picture=picture,
    )
    card_of_hub: Any = ModelCard(text)
    return Card(data=card_of_hub.data.to_dict(), text=card_of_hub.text)


def test_the_front_matter_says_what_the_hub_needs() -> None:
    assert render().data == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "quantized",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "language": ["en", "no"],
        "datasets": ["Salesforce/wikitext"],
        "tags": ["gptq", "4-bit", "quantized", "model-quantizer"],
        "model_quantizer": {"fingerprint": RECORD.fingerprint, "version": RECORD.versions["model-quantizer"]},
    }


def test_a_record_without_a_fingerprint_claims_no_state() -> None:
    assert "model_quantizer" not in render(replace(RECORD, fingerprint=None)).data


def test_what_the_base_card_does_not_say_is_left_out() -> None:
    card = render(card=None)
    assert not {"license", "license_name", "license_link", "language"} & card.data.keys()
    assert "The base model&#39;s card states no licence" not in card.text
    assert "states no licence" in card.text


def test_a_licence_of_its_own_is_copied_with_name_and_link() -> None:
    card = render(card={"license": "other", "license_name": "gemma", "license_link": "https://x.example/l"})
    assert card.data["license"] == "other"
    assert card.data["license_name"] == "gemma"
    assert card.data["license_link"] == "https://x.example/l"
    assert "The licence is the base model's: other (gemma)." in card.text


def test_the_manifest_says_what_the_card_says_in_place_of_the_base_card() -> None:
    base = {"license": "other", "license_name": "acme", "license_link": "LICENSE", "language": "en"}
    card = render(card=base, given={"license": "mit", "language": ["en", "no"], "tags": ["finance", "gptq"]})
    assert card.data["license"] == "mit"
    assert not {"license_name", "license_link"} & card.data.keys()
    assert card.data["language"] == ["en", "no"]
    assert card.data["tags"] == ["gptq", "4-bit", "quantized", "model-quantizer", "finance"]
    assert "The licence is what the publisher states: mit." in card.text
    assert "The licence is the base model's: other (acme)." in render(card=base, given={"tags": ["x"]}).text


def test_a_card_shows_what_the_licence_wants_shown() -> None:
    card = render(replace(RECORD, terms=Terms(license="llama3.1")))
    assert "\n\n**Built with Llama**\n\n" in card.text
    assert "Built with" not in render(replace(RECORD, terms=Terms(license="mit"))).text


@pytest.mark.parametrize("terms", [Terms(gated="auto"), Terms(private=True)])
def test_a_card_says_that_the_base_is_not_for_everybody(terms: Terms) -> None:
    card = render(replace(RECORD, terms=terms), card={"license": "mit"})
    assert "mit. Who passes this checkpoint on must hold to the terms" in card.text


def test_a_local_folder_names_no_base_model_even_if_its_card_does() -> None:
    data = render(model=ModelSpec(id="./mine", name="mine", local=Path("/mine"))).data
    assert "base_model" not in data
    assert data["base_model_relation"] == "quantized"


def test_a_model_that_generates_text_is_tagged_from_its_architecture() -> None:
    assert render(card={}).data["pipeline_tag"] == "text-generation"
    assert "pipeline_tag" not in render(card={}, architectures=["BertModel"]).data


def test_a_method_without_calibration_names_no_data_set() -> None:
    record = replace(RECORD, method="bitsandbytes", settings={"method": "bitsandbytes", "bits": 4})
    card = render(record)
    assert "datasets" not in card.data
    assert "Calibration: none, this method needs no text." in card.text
    assert "wikitext" in card.text.split("## Use")[0]


def test_the_table_holds_every_measured_figure() -> None:
    rows = [line for line in render().text.splitlines() if line.startswith("|")][:9]
    assert rows == [
        "| | base model | this checkpoint |",
        "| --- | ---: | ---: |",
        "| Weights on disk | 269.1 MB | 118.0 MB (44%) |",
        "| Perplexity | 32.37 | 36.05 ± 1.75 (+11.4%) |",
        "| KL divergence, nats per token | – | 0.1123 ± 0.0040 |",
        "| Time to load (float32) | – | 1.2 s |",
        "| Peak memory, loaded (float32) | – | 645.1 MB |",
        "| Time to quantize | – | 1 min 15 s |",
        "| Peak memory, quantizing | – | 1.2 GB |",
    ]


@pytest.mark.parametrize("reload", [None, replace(RELOAD, reproduced=False)])
def test_figures_that_the_reload_did_not_reproduce_are_left_out(reload: Any) -> None:
    text = render(replace(RECORD, measurements=replace(MEASURED, reload=reload))).text
    assert "| Perplexity |" not in text
    assert "36.05" not in text
    assert "0.1123" not in text
    assert "The figures of quality are left out" in text


def test_what_was_not_measured_is_said_and_has_no_row() -> None:
    measured = replace(MEASURED, figures={}, evaluation=None)
    text = render(replace(RECORD, measurements=measured)).text
    assert "Perplexity, KL divergence and top-token agreement were not measured." in text
    assert "| Perplexity" not in text
    assert "Nothing was measured." in render(replace(RECORD, measurements=None)).text


def test_how_it_was_made_can_be_read_and_repeated() -> None:
    text = render().text
    assert "| group size | 64 (chosen automatically) |" in text
    assert "| symmetric | yes |" in text
    assert (
        "Calibration: Salesforce/wikitext (wikitext-2-raw-v1, train) at <code>" + "b" * 40 + "</code>, "
        "64 sequences of 512 tokens (32768 tokens, sha256 of their ids <code>" + "c" * 64 + "</code>).\n"
    ) in text
    assert "from revision <code>" + "a" * 40 + "</code>" in text
    assert "Versions: gptqmodel 7.6.0, model-quantizer 0.1.0, torch 2.13.0, transformers 5.23.0." in text
    assert "```sh\nmodel-quantizer run quantize.yml\n```" in text
    assert "- model.layers.3&#58; damping grew to 0.02" in text


def test_too_little_text_is_said() -> None:
    text = render(replace(RECORD, calibration=replace(TEXT, short=True))).text
    assert "this is less text than was asked for" in text


def test_measuring_on_the_calibration_text_is_said() -> None:
    words = "It was measured on the text that it was calibrated on"
    assert words in render().text
    other = replace(MEASURED, evaluation=replace(TEXT, source="held-out.txt", revision="sha256:1"))
    assert words not in render(replace(RECORD, measurements=other)).text
    held_out = TextPart(source="held-out.txt", dataset=None, revision="sha256:1", samples=8)
    mixed = replace(TEXT, source="a mix", parts=(held_out, replace(held_out, revision="sha256:2")))
    assert words in render(replace(RECORD, measurements=other, calibration=mixed)).text


def test_the_card_says_where_awqs_codes_are_found_as_gptqs_are() -> None:
    words = "the codes were found column by column"
    cell = replace(CELL, settings=Settings(method="awq", bits=4))
    record = replace(RECORD, method="awq", format="awq", settings={"method": "awq", "effort": "standard"})
    assert words in render(record, cell=cell).text
    # Made before there was the setting.
    assert words not in render(replace(record, settings={"method": "awq"}), cell=cell).text
    fast = replace(cell, settings=replace(cell.settings, own={"effort": "fast"}))
    assert words not in render(record, cell=fast).text
    assert words not in render().text


def test_bits_of_each_layers_own_are_a_table() -> None:
    record = replace(
        RECORD,
        settings={**RECORD.settings, "target_bits": 3.5},
        layers={
            f"model.layers.{block}.{name}": (3 + block, 64) for block in range(2) for name in ("up", "down")
        },
    )
    card = render(record)
    assert "quantized to 3.5 bits on average with GPTQ" in card.text
    assert "| bits | by layer |" in card.text
    assert "| layers | 3 bits | 4 bits |\n| --- | ---: | ---: |\n" in card.text
    assert card.text.count(" | 1 | 1 |\n") == 2
    assert "mixed-bits" in card.data["tags"]


def test_what_stays_in_full_precision_is_told_with_its_reason() -> None:
    kept = {"a router": ("model.layers.*.mlp.gate",), "too small": ("model.layers.*.`x",)}
    text = render(
        replace(RECORD, kept=kept),
        cell=replace(CELL, settings=replace(CELL.settings, modules_to_not_convert=("*.down_proj",))),
    ).text
    assert "- embeddings, norms and the output layer: no method here rounds them\n" in text
    assert "- a router, by the model's structure: <code>model.layers.&#42;.mlp.gate</code>\n" in text
    assert "- too small, by the model's structure: <code>model.layers.&#42;.&#96;x</code>\n" in text
    assert "- what the manifest names: <code>&#42;.down&#95;proj</code>\n" in text
    assert "by the model's structure" not in render().text
    assert "what the manifest names" not in render().text


def test_the_memory_it_needs_is_measured_or_called_an_allowance() -> None:
    text = render().text
    assert "the weights take 118.0 MB. Loaded in float32 and continuing a short text it took 645.1 MB" in text
    assert "plan for 141.6 MB: a fifth more than the weights is an allowance, not measured" in text
    unloaded = render(replace(RECORD, measurements=replace(MEASURED, reload=None))).text
    assert "the weights take 118.0 MB. Where a kernel" in " ".join(unloaded.split())


def test_the_card_says_where_it_was_made() -> None:
    made = {
        "image": "ghcr.io/acme/quantizer@sha256:" + "0" * 64,
        "workflow_run": "https://github.com/acme/models/actions/runs/42",
    }
    text = render(replace(RECORD, provenance=made)).text
    assert (
        f"Made in the container image <code>ghcr.io/acme/quantizer&#64;sha256&#58;{'0' * 64}</code>, "
        "by the workflow run <https://github.com/acme/models/actions/runs/42>."
    ) in text
    assert "Made in" not in render().text
    # A record is read from a folder that anybody may have written to.
    for run in ("javascript:alert(1)", "https://x.example/> <script>", "https://x.example/\nx"):
        assert "workflow run" not in render(replace(RECORD, provenance={"workflow_run": run})).text


def sibling(name: str, size: int, kl: float, **changes: Any) -> CellRecord:
    measured = with_figure(replace(MEASURED, size_after=size), "kl_divergence", after=kl)
    return replace(
        RECORD, id=name, repository=f"acme/{name}", status="built", measurements=measured, **changes
    )


def test_the_other_checkpoints_of_the_model_stand_beside_this_one_by_size_with_errors_and_links() -> None:
    others = [
        sibling("eight", 165_000_000, 0.0008, url="https://huggingface.co/acme/eight/tree/main"),
        replace(sibling("four|x", 117_000_000, 0.3), status="gated"),
        sibling("worse", 170_000_000, 0.9),
    ]
    text = render(siblings=others).text
    table = text.partition("## Beside the other checkpoints of this model\n\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [
        "| checkpoint | weights on disk | perplexity | KL divergence |",
        "| --- | ---: | ---: | ---: |",
        "| acme/four&#124;x, not published: it missed its limits | 117.0 MB | 32.37 → 36.05 ± 1.8 "
        "| 0.3000 ± 0.0040 |",
        "| **this one** (best) | 118.0 MB | 32.37 → 36.05 ± 1.8 | 0.1123 ± 0.0040 |",
        "| [acme/eight](https://huggingface.co/acme/eight/tree/main) (best) | 165.0 MB "
        "| 32.37 → 36.05 ± 1.8 | 0.0008 ± 0.0040 |",
        "| acme/worse | 170.0 MB | 32.37 → 36.05 ± 1.8 | 0.9000 ± 0.0040 |",
    ]
    assert "± is one standard error. A cell is best at its size" in text
    assert "![" not in text
    assert "checkpoints in the table](quality.png)\n" in render(siblings=others, picture=True).text
    picture = quality_beside(RECORD, others)
    assert picture is not None
    assert "M2-135M-Instruct-gptq-4bit 0.1123 at 118.0 MB" in picture.alt
    assert "Beside the other" not in render().text
    assert quality_beside(RECORD, []) is None


def test_no_jinja_and_no_none_is_left_in_the_text() -> None:
    text = render().text
    assert "None" not in text
    assert "{{" not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("method", "bits", "settings", "group", "flags", "stored"),
    [
        ("gptq", 4, {}, 64, [], None),
        ("gptq", 8, {}, -1, [], None),
        ("gptq", 3, {}, 64, ["--dtype", "float16"], None),
        ("gptq", 4, {"sym": False}, 64, ["--dtype", "float16"], None),
        ("gptq", 4, {}, 16, ["--dtype", "float16"], None),
        ("awq", 4, {}, 64, [], None),
        ("bitsandbytes", 4, {}, None, ["--quantization", "bitsandbytes"], None),
        ("awq", 4, {}, 64, ["--dtype", "float16"], "gptq"),
        ("gptq", 3, {}, 64, [], "compressed-tensors"),
    ],
)
def test_vllm_gets_the_flags_that_the_format_needs(
    method: str, bits: int, settings: dict[str, Any], group: int | None, flags: list[str], stored: str | None
) -> None:
    cell = replace(CELL, settings=settings_of(method, bits, settings))
    record = replace(
        RECORD, method=method, bits=bits, format=stored or method, settings={"group_size": group}
    )
    made = snippets(record, cell, source().facts, model=MODEL, prompt="x")
    assert shlex.split(made.vllm) == ["vllm", "serve", CELL.repository, *flags]


def test_the_install_lines_pin_what_was_used() -> None:
    made = snippets(
        replace(RECORD, versions={**RECORD.versions, "optimum": "2.3.0+cpu"}),
        CELL,
        source().facts,
        model=MODEL,
        prompt="x",
    )
    assert made.install == (
        "pip install torch setuptools wheel transformers==5.23.0 accelerate optimum==2.3.0\n"
        "pip install --no-build-isolation gptqmodel==7.6.0"
    )


def test_overrides_of_gptq_are_loaded_through_gptqmodel() -> None:
    settings = Settings(method="gptq", bits=4, overrides=(Override(modules="*.down_proj", bits=8),))
    text = render(cell=replace(CELL, settings=settings)).text
    assert "With GPTQModel:" in text
    assert "AutoModelForCausalLM" not in text


@pytest.mark.parametrize("prompt", ["The capital of France is", 'a"); import os; ("', "a\n\\", HOSTILE])
def test_snippets_are_programs_whatever_the_prompt(prompt: str) -> None:
    made = snippets(RECORD, CELL, source().facts, model=MODEL, prompt=prompt)
    strings = [node.value for node in ast.walk(ast.parse(made.python)) if isinstance(node, ast.Constant)]
    assert prompt in strings
    assert "import os" not in [line.strip() for line in made.python.splitlines()]


def hostile_record() -> CellRecord:
    text = replace(TEXT, source=HOSTILE, dataset=HOSTILE, revision=HOSTILE)
    reload = replace(RELOAD, prompt=HOSTILE, generated=HOSTILE, base_generated=HOSTILE, dtype=HOSTILE)
    return replace(
        RECORD,
        id=HOSTILE,
        model=HOSTILE,
        revision=HOSTILE,
        repository=HOSTILE,
        settings={"group_size": HOSTILE, HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]},
        calibration=text,
        measurements=replace(MEASURED, evaluation=text, reload=reload),
        versions={"torch": HOSTILE, "gptqmodel": HOSTILE, HOSTILE: HOSTILE},
        notes=(HOSTILE, "```\n# out"),
    )


def test_nothing_foreign_becomes_markup_metadata_or_template() -> None:
    card_of_the_base = {
        "license": "mit\n---\nx: y",
        "license_name": HOSTILE,
        "license_link": HOSTILE,
        "language": [HOSTILE, {"a": 1}],
        "pipeline_tag": "a: b\nbase_model: evil/model",
    }
    card = render(
        hostile_record(),
        card=card_of_the_base,
        model=replace(MODEL, name=HOSTILE, id=HOSTILE),
        cell=replace(CELL, repository=HOSTILE),
        command=HOSTILE + "\n```\n# out",
    )
    data = card.data
    assert "base_model" not in data
    assert data["license"] == "mit --- x: y"
    assert data["pipeline_tag"] == "a: b base_model: evil/model"
    assert len(data["language"]) == 1
    outside: list[str] = []
    fence = ""
    for line in card.text.splitlines():
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line.rstrip("abcdefghijklmnopqrstuvwxyz")
        else:
            outside.append(line)
    assert not fence
    prose = "\n".join(outside)
    for part in ("<script", "`", "[b]", "javascript:", "{{", "{%", "\x1b", "# out"):
        assert part not in prose
    assert [line for line in outside if line.startswith("#")] == [
        outside[1],
        "## Measured",
        "## Use",
        "## How it was made",
        "## Limits",
    ]
    assert all(line.count("|") in (3, 4) for line in outside if line.startswith("|"))


def test_a_base_perplexity_of_nothing_does_not_break_the_card() -> None:
    measured = with_figure(MEASURED, "perplexity", before=math.inf, after=math.nan)
    assert "| Perplexity |" not in render(replace(RECORD, measurements=measured)).text


def test_a_base_that_was_too_large_to_ask_says_nothing() -> None:
    measured = replace(MEASURED, reload=replace(RELOAD, base_generated=""))
    assert "| *not asked: too large for the machine* |" in render(replace(RECORD, measurements=measured)).text
    assert "too large" not in render().text


def test_sizes_and_durations_are_for_people() -> None:
    assert [
        format_bytes(n) for n in (0, 999, 1000, 269_060_552, 1_234_567_890, 140 * 10**9, 1_500 * 10**9)
    ] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "269.1 MB",
        "1.2 GB",
        "140.0 GB",
        "1.5 TB",
    ]
    assert [format_duration(s) for s in (0.04, 9.94, 12.3, 59.6, 75.2, 3600, 86400)] == [
        "0.0 s",
        "9.9 s",
        "12 s",
        "1 min 00 s",
        "1 min 15 s",
        "1 h 00 min",
        "24 h 00 min",
    ]


def test_further_texts_have_tables_of_their_own_and_limits_say_how_they_were_judged() -> None:
    figures = {"kl_divergence": Figure(after=0.25, standard_error=0.01)}
    further = TextFigures(text=replace(TEXT, source="code | files", samples=7, shared=2), figures=figures)
    verdict = Verdict(key="max_kl_divergence", outcome=Outcome.MET, text="KL divergence is low | enough")
    record = replace(RECORD, measurements=replace(MEASURED, texts={"code": further}), verdicts=(verdict,))
    text = unescape(render(record).text)
    assert "On <code>code</code>, code | files at" in text
    assert "7 sequences of 512 tokens:\n\n| | base model | this checkpoint |\n" in text
    assert "| KL divergence, nats per token | – | 0.2500 ± 0.0100 |" in text
    assert "After ±: the standard error over the sequences" in text
    assert "Held to these limits:\n\n- KL divergence is low | enough\n" in text
    assert "Of the text code, 2 of 7 sequences (29%) have 64 tokens in a row in common" in text
    assert ", on 2 texts; other languages" in text
    assert "low | enough" not in render(record).text
    unproven = replace(record.measurements or MEASURED, reload=replace(RELOAD, reproduced=False))
    hidden = unescape(render(replace(record, measurements=unproven)).text)
    assert "low | enough" not in hidden
    assert "0.2500" not in hidden
