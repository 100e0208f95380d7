"""The words of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.cli.arguments import parse_arguments

GUIDE = [
    ["MODEL_NAME", "--bits", "8", "--method", "gptq", "--output-dir", "MODEL_NAME-gptq-8bit"],
    ["MODEL_NAME", "--bits", "4", "--method", "gptq", "--output-dir", "MODEL_NAME-gptq-4bit"],
    ["MODEL_NAME", "--bits", "8", "--method", "bitsandbytes", "--output-dir", "MODEL_NAME-bnb-8bit"],
    ["MODEL_NAME", "--bits", "4", "--method", "bitsandbytes", "--output-dir", "MODEL_NAME-bnb-4bit"],
    ["MODEL_NAME", "--bits", "4", "--method", "awq", "--output-dir", "MODEL_NAME-awq-4bit"],
    ["MODEL_NAME", "--device", "cpu"],
    ["MODEL_NAME", "--device", "cuda"],
    ["MODEL_NAME", "--device", "mps"],
    ["MODEL_NAME", "--device", "auto"],
    ["MODEL_NAME", "--calibration-dataset", "This is a sample text,This is another sample"],
    ["MODEL_NAME", "--calibration-dataset", "c4"],
    ["MODEL_NAME", "--group-size", "64"],
    ["MODEL_NAME", "--desc-act"],
    ["MODEL_NAME", "--no-sym"],
]
"""Every command of the guide that users come from, word by word."""

DEFAULTS = {
    "command": None,
    "version": False,
    "model": "MODEL_NAME",
    "method": "gptq",
    "bits": 8,
    "format": "auto",
    "output_dir": None,
    "device": "auto",
    "calibration_dataset": None,
    "group_size": None,
    "desc_act": None,
    "sym": None,
}
VALUES = {"bits": int, "group_size": int, "output_dir": Path}


def expected(words: list[str]) -> dict[str, object]:
    """What a command of the guide means: the defaults, and what it says."""
    meaning: dict[str, object] = dict(DEFAULTS)
    rest = iter(words[1:])
    for word in rest:
        key = word.removeprefix("--").replace("-", "_")
        if key == "desc_act":
            meaning[key] = True
        elif key == "no_sym":
            meaning["sym"] = False
        else:
            meaning[key] = VALUES.get(key, str)(next(rest))
    return meaning


@pytest.mark.parametrize("words", GUIDE, ids=" ".join)
def test_every_command_of_the_guide_means_what_it_says(words: list[str]) -> None:
    assert vars(parse_arguments(words)) == expected(words)


def test_a_folder_named_as_a_command_is_written_with_its_path() -> None:
    assert parse_arguments(["./plan"]).model == "./plan"
    assert parse_arguments(["plan", "quantize.yml"]).command == "plan"


def test_options_may_stand_before_the_model() -> None:
    assert parse_arguments(["--method", "awq", "org/model", "--bits", "4"]).model == "org/model"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pubish", "x"], "'pubish' is neither a command nor a model folder. Perhaps you meant `publish`?"),
        (["rum", "quantize.yml"], "'rum' is neither a command nor a model folder. Perhaps you meant `run`?"),
        (["org/model", "--bits", "four"], "argument --bits: 'four' is not a positive whole number"),
        (["org/model", "--bits", "0"], "argument --bits: '0' is not a positive whole number"),
        (["org/model", "--group-size", "-2"], "argument --group-size: '-2' is not a positive whole number"),
        (["org/model", "--group-size", "x"], "argument --group-size: 'x' is not a positive whole number"),
        (["org/model", "--bit", "4"], "unrecognized arguments: --bit 4"),
        (["org/model", "--method", "ggml"], "argument --method: invalid choice: 'ggml'"),
        (["run", "q.yml", "--executor", "podman"], "argument --executor: invalid choice: 'podman'"),
        (["run"], "the following arguments are required: MANIFEST"),
        (["publish", "--rollback"], "argument --rollback: expected one argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_are_told_and_end_with_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments(words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_one_group_per_row_can_be_asked_for() -> None:
    assert parse_arguments(["org/model", "--group-size", "-1"]).group_size == -1
    assert parse_arguments(["org/model", "--group-size", "auto"]).group_size == "auto"


def test_run_repeats_only_and_knows_both_ways_of_publishing() -> None:
    options = parse_arguments(["run", "q.yml", "--only", "a", "--only", "b", "--no-publish"])
    assert (options.only, options.publish, options.output) == (["a", "b"], False, Path("output"))
    assert parse_arguments(["run", "q.yml"]).publish is True


def test_publish_takes_the_folder_that_run_writes_to_unless_told_otherwise() -> None:
    assert parse_arguments(["publish"]).directory == parse_arguments(["run", "q.yml"]).output
    options = parse_arguments(["publish", "--rollback", "m-awq-4bit"])
    assert (options.directory, options.rollback, options.force) == (Path("output"), "m-awq-4bit", False)


def test_a_benchmark_takes_the_older_tools_words() -> None:
    words = [
        "--prompts-file",
        "p.json",
        "--num-prompts",
        "3",
        "--seed",
        "42",
        "--device",
        "cpu",
        "--output-dir",
        "figures",
    ]
    options = parse_arguments(["benchmark", "quantized", "--base", "original", *words])
    assert (options.paths, options.base) == ([Path("quantized")], Path("original"))
    assert (options.prompts, options.num_prompts, options.seed) == (Path("p.json"), 3, 42)
    assert (options.device, options.output_dir) == ("cpu", Path("figures"))


def test_a_benchmark_has_defaults_for_everything_but_the_path() -> None:
    options = parse_arguments(["benchmark", "a", "b/report.json"])
    assert options.paths == [Path("a"), Path("b/report.json")]
    assert (options.prompt_lengths, options.batch_sizes) == ((32, 128, 512), (1, 4))
    assert (options.new_tokens, options.rounds, options.repeats) == (32, 3, 2)
    assert (options.base, options.prompts, options.num_prompts) == (None, None, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["benchmark"], "PATH"),
        (["benchmark", "a", "--seed", "-1"], "'-1' is not a whole number from 0 on"),
        (["benchmark", "a", "--batch-sizes", "2", "b"], "'b' is not a positive whole number"),
        (["chat"], "PATH"),
        (["chat", "a", "--temperature", "nan"], "'nan' is not a number from 0 to 10"),
        (["chat", "a", "--temperature", "-0.1"], "'-0.1' is not a number from 0 to 10"),
        (["chat", "a", "--max-new-tokens", "0"], "'0' is not a positive whole number"),
    ],
)
def test_a_value_that_means_nothing_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
