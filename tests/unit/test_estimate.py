from __future__ import annotations

from dataclasses import replace

import pytest

from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import UsageError
from quantize_lib.methods.settings import Override, Settings
from quantize_lib.plan.cells import Cell, EvaluateSpec, Job
from quantize_lib.plan.estimate import estimate_job, job_memory
from quantize_lib.plan.memory_needs import LIBRARIES_BYTES, MemoryNeeds
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from tests.support.down_projections import facts

HEADERS = 1000
"""Room for the JSON header in the comparisons below."""


def job(*settings: Settings, samples: int = 1, evaluate: bool = False) -> Job:
    return Job(
        id="mine-cpu",
        model=ModelSpec(id="mine", name="mine"),
        device="cpu",
        calibration=TextSpec(texts=("a",), samples=samples, sequence_length=512),
        evaluate=EvaluateSpec(held_out=TextSpec(texts=("b",), samples=10) if evaluate else None),
        cells=tuple(
            Cell(id=f"cell-{index}", settings=one, repository="r") for index, one in enumerate(settings)
        ),
    )


def cell_bytes(settings: Settings, group_size: int = 64, *, prefix: str = "model.") -> int:
    estimate = estimate_job(job(settings), facts(prefix=prefix), {"cell-0": group_size})
    return estimate.cells["cell-0"] - 2 * 100 * 576


@pytest.mark.parametrize(
    ("method", "bits", "double_quant", "expected"),
    [
        # As counted in files of GPTQModel: qweight, qzeros, scales, g_idx.
        ("gptq", 4, True, 4 * 192 * 576 + 4 * 24 * 72 + 2 * 24 * 576 + 4 * 1536),
        ("gptq", 8, True, 4 * 384 * 576 + 4 * 24 * 144 + 2 * 24 * 576 + 4 * 1536),
        ("gptq", 3, True, 4 * 144 * 576 + 4 * 24 * 54 + 2 * 24 * 576 + 4 * 1536),
        ("awq", 4, True, 4 * 1536 * 72 + 4 * 24 * 72 + 2 * 24 * 576),
        # weight, absmax in uint8 and its nested absmax and table, table of 16 values.
        ("bitsandbytes", 4, True, 1536 * 288 + 13824 + 4 * 54 + 4 * 256 + 4 * 16),
        ("bitsandbytes", 4, False, 1536 * 288 + 4 * 13824 + 4 * 16),
        # int8 and a scale per row.
        ("bitsandbytes", 8, True, 1536 * 576 + 4 * 576),
    ],
)
def test_a_checkpoint_is_counted_tensor_by_tensor(
    method: str, bits: int, double_quant: bool, expected: int
) -> None:
    counted = cell_bytes(Settings(method=method, bits=bits, own={"double_quant": double_quant}))
    assert expected <= counted <= expected + HEADERS


def test_one_group_per_row_has_one_scale_per_output() -> None:
    expected = 4 * 192 * 576 + 4 * 72 + 2 * 576 + 4 * 1536
    assert expected <= cell_bytes(Settings(method="gptq", bits=4), -1) <= expected + HEADERS


def test_a_missing_prefix_on_disk_changes_nothing() -> None:
    settings = Settings(method="gptq", bits=4)
    assert cell_bytes(settings, prefix="") == cell_bytes(settings)


def test_kept_layers_stay_in_the_base_models_dtype() -> None:
    two = facts(blocks=2)
    kept = Settings(method="awq", bits=4, modules_to_not_convert=("*.1.*",))
    without = Settings(method="awq", bits=4)
    estimate = estimate_job(job(kept, without), two, {"cell-0": 64, "cell-1": 64})
    more = 2 * 1536 * 576 - (4 * 1536 * 72 + 4 * 24 * 72 + 2 * 24 * 576)
    assert abs(estimate.cells["cell-0"] - estimate.cells["cell-1"] - more) < HEADERS


def test_overrides_count() -> None:
    eight = Settings(method="gptq", bits=4, overrides=(Override(modules="*", bits=8, group_size=64),))
    assert cell_bytes(eight, 128) == cell_bytes(Settings(method="gptq", bits=8))


def test_disk_is_the_download_and_every_checkpoint() -> None:
    settings = (Settings(method="gptq", bits=4), Settings(method="gptq", bits=8))
    estimate = estimate_job(job(*settings), facts(), {"cell-0": 64, "cell-1": 32})
    assert estimate.job == "mine-cpu"
    assert estimate.download_bytes == 12345
    assert estimate.disk_bytes == 12345 + sum(estimate.cells.values())
    assert estimate.group_sizes == {"cell-0": 64, "cell-1": 32}


def test_disk_has_room_for_the_copy_of_pickled_weights() -> None:
    plain = facts()
    tensors = {name: replace(info, file="pytorch_model.bin") for name, info in plain.tensors.items()}
    sizes = {"cell-0": 64}
    estimates = [
        estimate_job(job(Settings(method="gptq", bits=4)), one, sizes)
        for one in (plain, replace(plain, tensors=tensors))
    ]
    assert estimates[1].disk_bytes - estimates[0].disk_bytes == plain.weight_bytes > 0
    assert estimates[1].cells == estimates[0].cells


def memory(depth: int, *settings: Settings, samples: int = 1, evaluate: bool = False) -> MemoryNeeds:
    return job_memory(job(*settings, samples=samples, evaluate=evaluate), facts(depth))


GPTQ = Settings(method="gptq", bits=4, own={"effort": "fast"})
AWQ = Settings(method="awq", bits=4, own={"effort": "fast"})
BNB = Settings(method="bitsandbytes", bits=4)


def test_peak_memory_is_that_of_the_plan_and_does_not_grow_with_depth() -> None:
    needs = memory(1, GPTQ)
    assert memory(8, GPTQ) == needs
    assert needs.rest > LIBRARIES_BYTES
    estimate = estimate_job(job(GPTQ), facts(), {"cell-0": 64})
    assert estimate.peak_memory_bytes == needs.whole == needs.rest + needs.hidden + needs.ahead
    assert estimate.activation_bytes == needs.hidden + needs.ahead


def test_activations_grow_with_samples_and_evaluation_with_cells() -> None:
    sequence = memory(1, GPTQ).hidden
    assert 512 * 1536 * 4 <= sequence <= 1.2 * 512 * 1536 * 4
    assert memory(1, GPTQ, samples=11).hidden == pytest.approx(11 * sequence, abs=11)
    assert memory(1, GPTQ, AWQ, evaluate=True).hidden == pytest.approx((1 + 3 * 10) * sequence, abs=31)


def test_a_cell_that_makes_up_for_errors_carries_up_to_16384_tokens() -> None:
    sequence, standard = memory(1, GPTQ).hidden, replace(GPTQ, own={})
    for samples, carried in ((4, 4), (40, 32)):
        needs = memory(1, standard, standard, samples=samples)
        assert needs.hidden == pytest.approx((samples + 2 * carried) * sequence, abs=200)
    assert memory(1, standard, samples=8).rest > memory(1, GPTQ, samples=8).rest + 8 * 512 * 1536 * 4


def test_with_effort_best_it_carries_four_times_as_many_tokens() -> None:
    sequence, best = memory(1, GPTQ).hidden, replace(GPTQ, own={"effort": "best"})
    assert memory(1, best, samples=200).hidden == pytest.approx((200 + 128) * sequence, abs=600)
    both = memory(1, best, replace(GPTQ, own={}), samples=200).hidden
    assert both == pytest.approx((200 + 128 + 32) * sequence, abs=600)


def test_scales_that_are_learned_take_the_weights_several_times_with_up_to_3_bits_and_no_experts() -> None:
    best = replace(GPTQ, own={"effort": "best"})
    weights = 4 * sum(layer.in_features * layer.out_features for layer in facts(1).layers)
    four, three = (memory(1, replace(best, bits=bits)).rest for bits in (4, 3))
    assert three - four > 4 * weights
    four, three = (memory(1, replace(best, bits=bits, own={})).rest for bits in (4, 3))
    assert abs(three - four) < weights
    mixed = [job_memory(job(replace(best, bits=bits)), mixture(4)).rest for bits in (4, 3)]
    assert mixed[1] <= mixed[0]


def test_bitsandbytes_alone_needs_neither_statistics_nor_calibration() -> None:
    assert memory(1, BNB).hidden == 0
    assert memory(1, BNB, GPTQ).rest - memory(1, BNB).rest > 1536 * 1536 * 4


def test_further_cells_of_a_method_need_no_more_than_the_first_but_for_one_beside_it() -> None:
    one, two, three = (memory(1, *(GPTQ,) * cells) for cells in (1, 2, 3))
    assert one.beside == 0
    assert two == three == replace(one, beside=two.beside)
    assert two.beside > 2 * 1536 * 576 * 4


def test_cells_work_at_the_same_time_where_there_is_memory_for_that_rather_than_for_a_block_ahead() -> None:
    needs = MemoryNeeds(hidden=500, rest=1000, ahead=100, beside=200, before=1600)
    assert needs.whole == 1800
    assert needs.least == 1600
    expected = {None: (True, True), 1800: (True, True), 1799: (True, False), 1699: (False, True)}
    for limit, (beside, ahead) in expected.items():
        assert (needs.works_beside(limit), needs.looks_ahead(limit)) == (beside, ahead)


def test_cells_of_mixtures_and_of_large_blocks_take_turns() -> None:
    large = tuple(replace(layer, in_features=8192, out_features=8192) for layer in facts(1).layers)
    assert job_memory(job(GPTQ, GPTQ), replace(facts(1), layers=large)).beside == 0
    assert job_memory(job(GPTQ, GPTQ), mixture(4)).beside == 0
    assert memory(1, BNB, BNB).beside == 0


def test_small_blocks_are_calibrated_ahead_and_take_the_memory_of_two() -> None:
    needs = memory(1, GPTQ, samples=10)
    weights = 4 * sum(layer.in_features * layer.out_features for layer in facts(1).layers)
    assert needs.ahead > weights + needs.hidden
    assert needs.looks_ahead(None)
    assert needs.looks_ahead(needs.whole)
    assert not needs.looks_ahead(needs.whole - 1)


def test_large_blocks_and_uncalibrated_ones_are_not_calibrated_ahead() -> None:
    large = tuple(replace(layer, in_features=8192, out_features=8192) for layer in facts(1).layers)
    assert job_memory(job(GPTQ), replace(facts(1), layers=large)).ahead == 0
    assert memory(1, BNB).ahead == 0
    assert not memory(1, BNB).looks_ahead(None)


def test_activations_are_spilled_where_everything_does_not_fit_and_the_rest_does() -> None:
    needs = MemoryNeeds(hidden=500, rest=1000)
    assert not needs.spills(None)
    assert not needs.spills(1500)
    assert needs.spills(1499)
    assert needs.spills(1000)
    with pytest.raises(
        UsageError, match=r"about 1\.0 kB of memory even with its activations on disk"
    ) as caught:
        needs.spills(999)
    assert "--max-memory" in (caught.value.hint or "")


def mixture(experts: int, *, hidden: int = 1024, inner: int = 512) -> ModelFacts:
    """A model of two blocks whose experts have tensors of their own."""
    layers = [
        LayerInfo(name=name, in_features=inputs, out_features=outputs, tensor=f"{name}.weight")
        for block in range(2)
        for expert in range(experts)
        for part, inputs, outputs in (
            ("gate_proj", hidden, inner),
            ("up_proj", hidden, inner),
            ("down_proj", inner, hidden),
        )
        for name in (f"model.layers.{block}.mlp.experts.{expert}.{part}",)
    ]
    return replace(facts(1), layers=tuple(layers))


def test_of_experts_only_weights_and_tokens_are_there_at_once() -> None:
    few, many = (job_memory(job(GPTQ), mixture(experts)).rest for experts in (256, 512))
    weights = 256 * 3 * 1024 * 512 * 4
    # Nothing of the statistics, which would be as large as the weights and more.
    assert weights <= many - few <= 1.1 * (weights + 256 * 2 * 2 * 1024 * 512 * 2) + 1


def test_held_out_text_takes_room_for_what_the_weights_of_experts_were() -> None:
    alone, carried = (
        job_memory(job(GPTQ, samples=100_000, evaluate=evaluate), mixture(64)).rest
        for evaluate in (False, True)
    )
    assert carried - alone == pytest.approx(1.1 * 64 * 3 * 1024 * 512 * 2, rel=0.01)


def test_the_moment_before_there_are_texts_counts_by_itself() -> None:
    needs = MemoryNeeds(hidden=500, rest=1000, ahead=100, before=1800)
    assert (needs.whole, needs.least) == (1800, 1800)
    assert not needs.spills(1800)
    with pytest.raises(UsageError, match=r"about 1\.8 kB"):
        needs.spills(1799)
    assert MemoryNeeds(hidden=500, rest=1000, ahead=100, before=800).whole == 1600


def test_towers_are_not_counted_and_what_a_block_keeps_counts_once() -> None:
    plain = replace(facts(1), blocks=("model.layers",))

    def beside(*names: str) -> ModelFacts:
        more = {
            name: TensorInfo(name=name, dtype="BF16", shape=(1000, 1000), file="more.safetensors")
            for name in names
        }
        return replace(plain, tensors={**plain.tensors, **more})

    needs = job_memory(job(GPTQ), plain)
    assert job_memory(job(GPTQ), beside("vision_tower.patch.weight")) == needs
    one, two = (
        job_memory(
            job(GPTQ), beside(*(f"model.layers.{block}.mixer.conv1d.weight" for block in range(count)))
        )
        for count in (1, 2)
    )
    assert one == two
    assert one.rest - needs.rest == pytest.approx(1.1 * 4e6, rel=0.01)
