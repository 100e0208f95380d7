"""Tensors that a model's class does not load: what stands beside it is told, what belongs in it refused."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.language_model import block_count
from quantize_lib.architecture.likely import likely
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
    groups = _groups(config, held, strays)
    if inside := groups["inside"]:
        raise _refusal(config, held, inside)
    notes = []
    if beyond := groups["beyond"]:
        said = block_count(config)
        what = "of blocks beyond those of the model"
        if said is not None:
            what = f"of blocks beyond the {said[1]} of config.json ({said[0]})"
        notes.append(_copied(beyond, what, _in_words(_block(info.name) for info in beyond)))
    if buffers := groups["buffer"]:
        notes.append(_left_out(buffers, "that older versions of transformers stored", _listed(buffers)))
    if scales := groups["scale"]:
        what = "of a quantized form of the weights, which are in full precision here,"
        notes.append(_left_out(scales, what, _listed(scales)))
    if beside := groups["beside"]:
        notes.append(_copied(beside, "beside the language model", _listed(beside)))
    return notes


def to_copy(
    config: Mapping[str, Any], held: Mapping[str, TensorInfo], strays: Sequence[TensorInfo]
) -> list[TensorInfo]:
    """The strays that a checkpoint gets as they are: other loaders than transformers may have a use for them.

    Args:
        config, held, strays: as those of `sort_strays`.
    """
    groups = _groups(config, held, strays)
    return [*groups["beyond"], *groups["beside"]]


def _groups(
    config: Mapping[str, Any], held: Mapping[str, TensorInfo], strays: Sequence[TensorInfo]
) -> dict[str, list[TensorInfo]]:
    """The strays by where they stand."""
    facts = class_facts.of(config)
    base = facts.base if facts is not None else ""
    left_over = [re.compile(pattern) for pattern in (facts.left_over if facts is not None else ())]
    bare = base and not any(info.name.startswith(f"{base}.") for info in held.values())
    firsts = {"lm_head", *(name.partition(".")[0] for name in held)}
    model = _Model(held)
    groups: dict[str, list[TensorInfo]] = defaultdict(list)
    for info in strays:
        name = info.name
        if bare and name.partition(".")[0] not in firsts:
            name = f"{base}.{name}"
        kind = model.kind(name)
        if kind in ("inside", "beside") and any(pattern.search(name) for pattern in left_over):
            # The class itself expects them: buffers in its modules, and what stands beside it.
            kind = "buffer" if kind == "inside" else "beside"
        groups[kind].append(info)
    return groups


class _Model:
    """What a model has, by the names of its tensors.

    Args:
        held: by full name.
    """

    def __init__(self, held: Mapping[str, TensorInfo]) -> None:
        self._held = held
        self._lists: dict[str, int] = {}
        modules = set()
        for name in held:
            start, index = _list_of(name)
            if index is None:
                modules.add(name.rpartition(".")[0])
            else:
                self._lists[start] = max(self._lists.get(start, 0), index + 1)
        self._modules: Collection[str] = modules

    def kind(self, name: str) -> str:
        """Where a stray stands, by its name with the base model's prefix."""
        if _BUFFERS.search(name):
            return "buffer"
        # Of a weight that is not in full precision nothing comes as far as this.
        if _SCALES.search(name) and f"{_SCALES.sub('', name)}.weight" in self._held:
            return "scale"
        start = next((one for one in self._lists if name.startswith(f"{one}.")), None)
        if start is not None:
            index = name.removeprefix(f"{start}.").partition(".")[0]
            return "beyond" if index.isdecimal() and int(index) >= self._lists[start] else "inside"
        if any(name.startswith(f"{module}.") for module in self._modules if module):
            return "inside"
        # A module of its own: the first part of the name that leads to nothing that the model has.
        parts = name.split(".")
        known = (*self._modules, *self._lists)
        depth = next(
            (at for at in range(1, len(parts)) if not _leads_to(".".join(parts[:at]), known)), len(parts)
        )
        return "inside" if depth > 1 and not _BESIDE.search(parts[depth - 1].lower()) else "beside"


def _list_of(name: str) -> tuple[str, int | None]:
    """The outermost list of modules that a tensor is in, and its index there."""
    found = _INDEX.search(name)
    return (name, None) if found is None else (name[: found.start() - 1], int(found[0]))


def _leads_to(start: str, modules: Iterable[str]) -> bool:
    return any(module == start or module.startswith(start + ".") for module in modules)


def _refusal(
    config: Mapping[str, Any], held: Mapping[str, TensorInfo], strays: Sequence[TensorInfo]
) -> SourceError:
    change = "changes" if len(strays) == 1 else "change"
    return SourceError(
        f"{strays[0].file} holds {_counted(strays)} that a {config['model_type']} with this config.json does "
        f"not load, and that {change} what it computes: {_listed(strays)}",
        hint=likely(config, held, [info.name for info in strays]),
    )


def _left_out(tensors: Sequence[TensorInfo], what: str, names: str) -> str:
    are, them = ("is", "it") if len(tensors) == 1 else ("are", "them")
    return f"{_counted(tensors)} {what} {are} left out, as transformers does not load {them}: {names}"


def _copied(tensors: Sequence[TensorInfo], what: str, names: str) -> str:
    are, them = ("is", "it") if len(tensors) == 1 else ("are", "them")
    said = f"{_counted(tensors)} {what} {are} copied unchanged"
    return f"{said}, though transformers does not load {them}: {names}"


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
