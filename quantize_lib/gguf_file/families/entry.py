"""What a family's entry says: how llama.cpp knows models of a type, and what a file has to say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFWriter

SILU: Mapping[str, tuple[Any, ...]] = {"hidden_act": (None, "silu")}
NO_BIASES: Mapping[str, tuple[Any, ...]] = {"attention_bias": (None, False), "mlp_bias": (None, False)}
NO_WINDOW: Mapping[str, tuple[Any, ...]] = {"use_sliding_window": (None, False)}
UNTIED: Mapping[str, tuple[Any, ...]] = {"tie_word_embeddings": (None, False)}
"""Of an architecture that wants an output layer of its own, and a class that has one by default."""
EVERY_LAYER: Mapping[str, tuple[Any, ...]] = {
    "decoder_sparse_step": (None, 1),
    "mlp_only_layers": (None, []),
}
"""Of mixtures: that every block has experts."""
AROUND: Mapping[str, str] = {
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
"""Names of norms of what a layer gives, where there are such."""
MLP_EXPERTS: Mapping[str, str] = {
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.*.gate_proj": "ffn_gate_exps",
    "mlp.experts.*.up_proj": "ffn_up_exps",
    "mlp.experts.*.down_proj": "ffn_down_exps",
}
"""Names of a router and its experts; `*` stands for the number of one, and a file has all in one tensor."""

_COUNTS = ("num_experts", "num_local_experts")
"""Keys of the number of experts: of some classes transformers writes another than their authors did."""


@dataclass(frozen=True, kw_only=True)
class Experts:
    """Which keys of `config.json` say what of a mixture.

    Attributes:
        used: to how many experts a token goes.
        width: of one of them; "" where it is the block's (`intermediate_size`).
        shared_width: of one that every token goes to; "" where there is none.
    """

    used: str = "num_experts_per_tok"
    width: str = "moe_intermediate_size"
    shared_width: str = ""

    @property
    def needed(self) -> tuple[str, ...]:
        """Keys without which a file cannot say it."""
        return tuple(filter(None, (self.used, self.width, self.shared_width)))

    def count(self, config: Mapping[str, Any]) -> int | None:
        """How many experts a block has; None where a config does not say it."""
        return next((config[key] for key in _COUNTS if config.get(key) is not None), None)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one class of transformers', and an architecture of llama.cpp's. A new one is a file here.

    Attributes:
        name: `model_type`.
        order: its place in lists.
        architecture: llama.cpp's name.
        such_as: models that people know, for people.
        where: which models of the type are meant, in words; "" where it is all that have its class.
        alternating: whether rows of queries and keys lie in pairs, as its rotary embedding takes them, and
            transformers' does not.
        wanted: values of `config.json` that llama.cpp takes for granted; None where the key is not there.
        needed: keys that a file's metadata are made of, beside those of every family.
        names_width: whether the width of a head is in what transformers reads.
        whole_heads: whether llama.cpp takes heads to be as wide as `hidden_size` is for so many.
        scaled: the kinds of scaled rotary embeddings that llama.cpp knows for it.
        theta: the base of its rotary embedding where the config does not say it.
        rotary_share: how much of a head the rotary embedding turns where the config does not say it; None
            where it is always all of it.
        layers: names of tensors in a block that are other ones than most families'.
        shifted: whether norms are stored with one added.
        layer_norm: the key with the epsilon of norms that take the mean away; "" where they do not.
        experts: of a mixture.
        own_window: whether the entry itself says what is with an attention window.
        by_config: whether transformers always needs `config.json`, too.
        in_transformers: whether transformers reads such a file.
        refusal: why a model is not what llama.cpp computes; it gets the config.
        write: writes what only this family has.
    """

    name: str
    architecture: str
    such_as: str
    where: str = ""
    order: int = 1
    alternating: bool = False
    wanted: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    names_width: bool = False
    whole_heads: bool = False
    scaled: tuple[str, ...] = ("linear",)
    theta: float = 10_000.0
    rotary_share: float | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    shifted: bool = False
    layer_norm: str = ""
    experts: Experts | None = None
    own_window: bool = False
    by_config: bool = True
    in_transformers: bool = True
    refusal: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    write: Callable[[GGUFWriter, Mapping[str, Any]], None] = lambda _writer, _config: None


def other_pattern(config: Mapping[str, Any], every: int) -> str | None:
    """Why a model's windows are not where llama.cpp has them; None where they are.

    Args:
        every: the last of so many layers sees the whole text, the others a window of it.
    """
    layers = range(int(config["num_hidden_layers"]))
    wanted = ["full_attention" if (layer + 1) % every == 0 else "sliding_attention" for layer in layers]
    told, pattern = config.get("layer_types"), config.get("sliding_window_pattern")
    if told not in (None, wanted) or pattern not in (None, every):
        return f"llama.cpp takes the last of every {every} layers of this model type for one without a window"
    return None
