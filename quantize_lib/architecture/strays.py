"""Tensors that a model's class does not load: what stands beside it is told, what belongs in it refused."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from quantize_lib.architecture.families import HEAD, get_family, sizes
from quantize_lib.architecture.family import Family
from quantize_lib.architecture.family_table import FAMILIES
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError
from quantize_lib.wording import joined, show

_BUFFERS = re.compile(
    r"(^|\.)(rotary_emb\.(inv_freq|original_inv_freq|cos_cached|sin_cached)|position_ids|decoder\.version"
    r"|embed_positions\._float_tensor)$"
)
"""Computed by the classes of today, stored by older ones."""
_BESIDE = re.compile(
    r"mtp|nextn|medusa|eagle|vision|visual|image|audio|speech|video|multi_modal|multimodal|projector|connector"
    r"|score|classifier|value_head|v_head|reward|qa_outputs|summary"
)
"""In the names of modules beside a language model: further predictions, other senses, other heads."""
_SCALES = re.compile(
    r"\.(weight_scales?(_inv|_2)?|input_scale|scales|biases|qzeros|g_idx|SCB"
    r"|weight\.(absmax|quant_map|nested_\w+|quant_state\..+|SCB))$"
)
"""What quantized forms of a weight store beside it."""
_INDEX = re.compile(r"(?<=\.)\d+(?=\.)")
_SHOWN = 3
_SHOWN_NAME = 80


def sort_strays(
    config: Mapping[str, Any], held: Mapping[str, TensorInfo], strays: Sequence[TensorInfo]
) -> list[str]:
    """What to tell of the tensors that have no place in a model.

    Args:
        config: `config.json`.
        held: those that have one, by full name.
        strays: the others.

    Returns:
        Notes, as those of `Architecture`.

    Raises:
        SourceError: where one belongs to a part of the model, which would compute something else without it.
    """
    family = get_family(config)
    blocks = sizes(family, config)["blocks"]
    groups: dict[str, list[TensorInfo]] = defaultdict(list)
    bare = not any(info.name.startswith(family.base_prefix + ".") for info in held.values())
    modules = {name.rpartition(".")[0] for name in held if not name.startswith(family.blocks + ".")}
    for info in strays:
        name = info.name
        if bare and not name.startswith(f"{HEAD}."):
            name = f"{family.base_prefix}.{name}"
        groups[_kind(name, family, blocks, held, modules)].append(info)
    if inside := groups["inside"]:
        raise _refusal(config, family, held, inside)
    notes = []
    if beyond := groups["beyond"]:
        what = f"of blocks beyond the {blocks} of config.json ({family.keys['blocks']})"
        notes.append(_left_out(beyond, what, _in_words(_block(info.name) for info in beyond)))
    if buffers := groups["buffer"]:
        notes.append(_left_out(buffers, "that older versions of transformers stored", _listed(buffers)))
    if scales := groups["scale"]:
        what = "of a quantized form of the weights, which are in full precision here,"
        notes.append(_left_out(scales, what, _listed(scales)))
    if beside := groups["beside"]:
        notes.append(_left_out(beside, "beside the language model", _listed(beside)))
    return notes


def _kind(
    name: str, family: Family, blocks: int, held: Mapping[str, TensorInfo], modules: Collection[str]
) -> str:
    """Where a stray stands.

    Args:
        name: with the base model's prefix.
        blocks: how many the model has.
        modules: that it has outside them.
    """
    index, _, relative = name.removeprefix(family.blocks + ".").partition(".")
    in_block = name.startswith(family.blocks + ".")
    if _BUFFERS.search(name) or (in_block and relative in family.left_overs):
        return "buffer"
    # Of a weight that is not in full precision nothing comes as far as this.
    if _SCALES.search(name) and f"{_SCALES.sub('', name)}.weight" in held:
        return "scale"
    if in_block:
        return "beyond" if index.isdecimal() and int(index) >= blocks else "inside"
    if any(name.startswith(module + ".") for module in modules):
        return "inside"
    # A module of its own: the first part of the name that leads to nothing that the model has.
    parts = name.split(".")
    depth = next(
        (at for at in range(1, len(parts)) if not _leads_to(".".join(parts[:at]), (*modules, family.blocks))),
        len(parts),
    )
    return "inside" if depth > 1 and not _BESIDE.search(parts[depth - 1].lower()) else "beside"


def _leads_to(start: str, modules: Iterable[str]) -> bool:
    return any(module == start or module.startswith(start + ".") for module in modules)


def _refusal(
    config: Mapping[str, Any], family: Family, held: Mapping[str, TensorInfo], strays: Sequence[TensorInfo]
) -> SourceError:
    change = "changes" if len(strays) == 1 else "change"
    return SourceError(
        f"{strays[0].file} holds {_counted(strays)} that a {config['model_type']} with this config.json does "
        f"not load, and that {change} what it computes: {_listed(strays)}",
        hint=_likely(config, family, held, strays),
    )


def _likely(
    config: Mapping[str, Any], family: Family, held: Mapping[str, TensorInfo], strays: Sequence[TensorInfo]
) -> str:
    """What probably has to be mended."""
    first = f"{family.blocks}.0."
    stray = {_relative(info.name, family) for info in strays}
    there = {name.removeprefix(first) for name in held if name.startswith(first)} | stray
    others = [
        name
        for name, other in FAMILIES.items()
        if other.blocks == family.blocks and stray <= _possible(other) and there <= _possible(other)
    ]
    exact = [name for name in others if there == _usual(FAMILIES[name])]
    complete = [name for name in others if there >= _usual(FAMILIES[name])]
    switches = {
        switch
        for parameter in (*family.inside, *family.outside)
        if parameter.name in stray
        for switch in parameter.switches
        if not switch.is_on(config)
    }
    if switches and not exact:
        keys = joined(sorted(f"{switch.key}: {str(switch.wanted).lower()}" for switch in switches))
        return f"config.json probably has to say {keys}, as it did where the model was trained."
    named = [name for name in exact or complete or others if name != config["model_type"]]
    if named:
        return (
            f"They are what a {joined(named, 'or')} has: model_type and architectures of config.json are "
            "probably another model's."
        )
    return "config.json is probably another model's; or remove the tensors if they are left over."


def _relative(name: str, family: Family) -> str:
    """A stray's name in its block, or as it is outside."""
    full = name if name.startswith(family.base_prefix + ".") else f"{family.base_prefix}.{name}"
    inside = full.removeprefix(family.blocks + ".")
    return name if inside == full else inside.partition(".")[2]


def _possible(family: Family) -> set[str]:
    return {f"{layer}.weight" for layer in family.layers} | {parameter.name for parameter in family.inside}


def _usual(family: Family) -> set[str]:
    """The names in a block where the config says nothing of its own."""
    return {f"{layer}.weight" for layer in family.layers} | {
        parameter.name for parameter in family.inside if all(one.is_on({}) for one in parameter.switches)
    }


def _left_out(tensors: Sequence[TensorInfo], what: str, names: str) -> str:
    are, them = ("is", "it") if len(tensors) == 1 else ("are", "them")
    return f"{_counted(tensors)} {what} {are} left out, as transformers does not load {them}: {names}"


def _counted(tensors: Sequence[TensorInfo]) -> str:
    return "1 tensor" if len(tensors) == 1 else f"{len(tensors)} tensors"


def _listed(tensors: Iterable[TensorInfo]) -> str:
    """Their names, those of several blocks once."""
    alike: dict[str, list[str]] = defaultdict(list)
    for info in tensors:
        alike[_INDEX.sub("*", info.name)].append(info.name)
    return _in_words(pattern if len(names) > 1 else names[0] for pattern, names in alike.items())


def _block(name: str) -> str:
    """`model.layers.3` of `model.layers.3.mlp.up_proj.weight`."""
    index = _INDEX.search(name)
    return name if index is None else name[: index.end()]


def _in_words(names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    more = [f"{len(different) - _SHOWN} more"] if len(different) > _SHOWN else []
    return joined([*(show(name, limit=_SHOWN_NAME) for name in different[:_SHOWN]), *more])
