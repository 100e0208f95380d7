"""Group sizes against a model's layers, and the settings of every layer of a cell."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase

from quantize_lib.architecture.assignment import assign, traits_of
from quantize_lib.architecture.blocks import split
from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.families import named
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.errors import SourceError, UsageError
from quantize_lib.formats import Format, get_format, resolve_format
from quantize_lib.methods import METHODS, GroupSize, Method, Settings, get_method
from quantize_lib.methods.common import FITTING_GROUP_SIZES, GROUP_SIZE
from quantize_lib.tasks import task_of
from quantize_lib.wording import joined

_HEADS = ("lm_head", "embed_out")


def resolve_group_size(facts: Architecture, settings: Settings) -> int:
    """The number that `auto` stands for, or the explicit one after its check; -1 is one group per row.

    `auto` is the largest of 128, 64, 32, 16 that divides the input of every layer that is quantized and has
    no group size of its own from an override. Where the method has no group size: -1.

    Raises:
        SourceError: where the method needs a causal language model, and this is none.
        UsageError: where a size does not divide a layer's input, naming the layer and the sizes that fit;
            where a pattern matches nothing, nothing is left to quantize, or a layer cannot be packed.
    """
    _check_task(facts, settings)
    _check_patterns(facts, settings)
    layers = assign(facts, settings)
    if not layers:
        raise UsageError(
            "modules_to_not_convert matches every linear layer: nothing is left to quantize",
            hint="Name fewer modules.",
        )
    traits = traits_of(facts, settings)
    chosen = resolve_format(settings, traits)
    alike = chosen.alike(traits)
    for layer, bits, size in layers:
        if bits not in chosen.bits or (alike and (bits, size) != (settings.bits, settings.group_size)):
            raise _not_alike(layer, bits, size, settings, chosen, alike)
        _check_packing(layer, bits, chosen)
    _check_experts(facts, layers)
    if not _has_groups(settings):
        return -1
    for layer, _, size in layers:
        if size not in ("auto", -1) and layer.in_features % int(size):
            same = [other for other, _, wanted in layers if wanted == size]
            raise UsageError(
                f"group_size {size} does not divide the input of {layer.name} ({layer.in_features})",
                hint=f"Sizes that fit every layer: {_fitting_words(same)}.",
            )
    if settings.group_size != "auto":
        return settings.group_size
    open_layers = [layer for layer, _, size in layers if size == "auto"]
    fitting = _fitting(open_layers)
    if not fitting:
        odd = next(layer for layer in open_layers if layer.in_features % FITTING_GROUP_SIZES[-1])
        raise UsageError(
            f"group_size auto: none of {', '.join(map(str, FITTING_GROUP_SIZES))} divides the input of "
            f"{odd.name} ({odd.in_features})",
            hint="Say group_size: -1 (one group per row), or keep that layer with modules_to_not_convert.",
        )
    return fitting[0]


def resolved_layers(facts: Architecture, settings: Settings) -> list[tuple[LayerInfo, int, int]]:
    """The layers that a cell quantizes, in the model's order, each with its bits and group size.

    Raises:
        UsageError: as `resolve_group_size`.
    """
    resolved = resolve_group_size(facts, settings)
    if not _has_groups(settings):
        return [(layer, bits, resolved) for layer, bits, _ in assign(facts, settings)]
    return [
        (layer, bits, resolved if size == "auto" else size) for layer, bits, size in assign(facts, settings)
    ]


def _check_task(facts: Architecture, settings: Settings) -> None:
    task = task_of(facts.config)
    if not task.continues and _wants_text(get_method(settings.method)):
        others = joined((method.name for method in METHODS.values() if not _wants_text(method)), "or")
        raise SourceError(
            f"{settings.method} needs a causal language model, and {named(facts.config)} is {task.words}",
            hint=f"Take {others} for it.",
        )


def _wants_text(method: Method) -> bool:
    """Whether a checkpoint of it is made or checked by text that goes through the model."""
    return method.calibrated or not get_format(method.formats[0]).compares_outputs


def _fitting(layers: list[LayerInfo]) -> list[int]:
    return [size for size in FITTING_GROUP_SIZES if all(layer.in_features % size == 0 for layer in layers)]


def _fitting_words(layers: list[LayerInfo]) -> str:
    sizes = [str(size) for size in _fitting(layers)]
    return f"{', '.join(sizes)} or -1" if sizes else "only -1"


def _has_groups(settings: Settings) -> bool:
    return GROUP_SIZE in get_method(settings.method).settings


def _not_alike(
    layer: LayerInfo, bits: int, size: GroupSize, settings: Settings, chosen: Format, reason: str | None
) -> UsageError:
    return UsageError(
        f"{layer.name} asks for {bits} bits and group size {size}, which the format {chosen.name} cannot "
        f"hold beside {settings.bits} bits and group size {settings.group_size}: "
        f"{reason or chosen.bits_note}",
        hint="Leave the override out, keep the layer in full precision, or name another format.",
    )


def _check_experts(facts: Architecture, layers: list[tuple[LayerInfo, int, GroupSize]]) -> None:
    """Loaders read all experts by one scheme, and would load others wrong without an error."""
    experts = [one for one in layers if one[0].of_expert]
    if not experts:
        return
    first, bits, size = experts[0]
    other = next((layer for layer, *scheme in experts if scheme != [bits, size]), None)
    if other is not None:
        raise UsageError(
            f"{other.name} and {first.name} ask for other bits or group sizes; loaders read all experts of a "
            "model by one scheme",
            hint="Write an override's pattern so that it takes all experts or none: *.experts.*",
        )
    taken = {layer.name for layer, *_ in experts}
    kept = next((one for one in facts.layers if one.of_expert and one.name not in taken), None)
    if kept is not None:
        raise UsageError(
            f"{kept.name} would stay in full precision beside quantized experts, which no loader reads",
            hint="Let modules_to_not_convert take all experts or none: *.experts.*",
        )


def _check_packing(layer: LayerInfo, bits: int, chosen: Format) -> None:
    misfit = chosen.misfit(layer.in_features, layer.out_features, bits)
    if misfit is not None:
        raise UsageError(
            f"the {misfit.side} of {layer.name} ({misfit.size}) cannot be packed: {misfit.reason}",
            hint=f"Keep it in full precision with modules_to_not_convert: ['{layer.name}'].",
        )


def _check_patterns(facts: Architecture, settings: Settings) -> None:
    names = [layer.name for layer in facts.layers]
    # What lies outside the blocks or beside the model is never quantized: to keep it is right, if needless.
    outside = [*_HEADS, *(tensor.rpartition(".")[0] for tensor in (*facts.tensors, *facts.strays))]
    for pattern in settings.modules_to_not_convert:
        if not any(fnmatchcase(name, pattern) for name in [*names, *outside]):
            raise _no_match("modules_to_not_convert", pattern, names)
    for override in settings.overrides:
        if not any(fnmatchcase(name, override.modules) for name in names):
            raise _no_match("overrides", override.modules, names)


def _no_match(key: str, pattern: str, names: list[str]) -> UsageError:
    tails = dict.fromkeys(_tail(name) for name in names)
    patterns = list(
        dict.fromkeys([*(f"*.{tail}" for tail in tails), *(f"*.{t.rpartition('.')[2]}" for t in tails)])
    )
    wanted = f"*.{pattern.lstrip('*.')}"
    close = [wanted] if wanted in patterns else difflib.get_close_matches(wanted, patterns, n=1, cutoff=0.6)
    meant = f"Perhaps you meant `{close[0]}`? " if close else ""
    return UsageError(
        f"{key}: the pattern {pattern!r} matches no linear layer of the model",
        hint=f"{meant}Patterns match full names such as {names[0]}; layers of a block: {', '.join(tails)}.",
    )


def _tail(name: str) -> str:
    """`self_attn.q_proj` of `model.layers.0.self_attn.q_proj`."""
    return split(name)[2]
