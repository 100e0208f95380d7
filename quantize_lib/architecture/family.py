"""What the table of families says of each: its linear layers, and what else its class loads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A key of the config that decides whether a parameter is there.

    Attributes:
        default: what the config class takes where `config.json` says nothing.
        wanted: the value with which the parameter is there.
    """

    key: str
    default: bool
    wanted: bool = True

    def is_on(self, config: Mapping[str, Any]) -> bool:
        """Whether the config has it so that the parameter is there."""
        return bool(config.get(self.key, self.default)) == self.wanted


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A size that only one parameter has: the length of a learned table of positions.

    Attributes:
        key: of the config.
        default: what the config class takes where `config.json` says nothing.
        more: rows beyond the number that the config says.
    """

    key: str
    default: int
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a family's class.

    Attributes:
        name: in a block relative to it, outside the blocks the full name.
        shape: as words of `families.sizes`, or rows of its own.
        switches: all of them have to be on.
        unlike: two words of `families.sizes`; it is there where the two differ.
    """

    name: str
    shape: tuple[str | Rows, ...]
    switches: tuple[Switch, ...] = ()
    unlike: tuple[str, str] | None = None

    def is_there(self, config: Mapping[str, Any], size: Mapping[str, int]) -> bool:
        """Whether the class has it with this config."""
        differs = self.unlike is None or size[self.unlike[0]] != size[self.unlike[1]]
        return differs and all(switch.is_on(config) for switch in self.switches)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One `model_type`.

    Attributes:
        blocks: full module name of the list of decoder blocks, as transformers names it.
        layers: the linear layers of a block by relative name, in the order of the model's modules:
            (input size, output size) as words of `sizes`.
        embedding: full module name of the token embedding.
        inside: what the class loads of a block beside the weights of these layers.
        outside: what it loads outside the blocks beside embedding and head.
        base_prefix: what transformers puts in front of the base model's names; a checkpoint may lack it.
        keys: the config's keys for hidden, mlp, blocks and heads.
        key_value_heads, head_dim: what the config class takes where `config.json` says nothing;
            None for "as many as heads" and "hidden / heads".
        conv1d: weights lie as (in, out) on disk.
        tied: whether the head is the embedding where `config.json` does not say `tie_word_embeddings`.
        renamed: beginnings of names on disk that transformers takes for others.
        left_overs: buffers that older versions of the class stored, by relative name in a block.
        padded: the embedding takes `pad_token_id` as its padding index.
        even_heads: the hidden size has to be a multiple of the number of heads.
    """

    blocks: str
    layers: Mapping[str, tuple[str, str]]
    embedding: str
    inside: tuple[Parameter, ...]
    outside: tuple[Parameter, ...]
    base_prefix: str
    keys: Mapping[str, str] = field(
        default_factory=lambda: {
            "hidden": "hidden_size",
            "mlp": "intermediate_size",
            "blocks": "num_hidden_layers",
            "heads": "num_attention_heads",
        }
    )
    key_value_heads: int | None = None
    head_dim: int | None = None
    embedding_key: str = "hidden_size"
    conv1d: bool = False
    tied: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    left_overs: tuple[str, ...] = ()
    padded: bool = True
    even_heads: bool = False


def norms(
    *names: str, size: str = "hidden", bias: bool = False, switches: tuple[Switch, ...] = ()
) -> tuple[Parameter, ...]:
    """The parameters of norms, with or without a bias."""
    leaves = ("weight", "bias") if bias else ("weight",)
    return tuple(
        Parameter(name=f"{name}.{leaf}", shape=(size,), switches=switches)
        for name in names
        for leaf in leaves
    )


def biases(
    layers: Mapping[str, tuple[str, str]], names: Iterable[str], *switches: Switch
) -> tuple[Parameter, ...]:
    """The biases of linear layers.

    Args:
        layers: (input size, output size) by name.
        names: those that have one.
    """
    return tuple(
        Parameter(name=f"{name}.bias", shape=(layers[name][1],), switches=switches) for name in names
    )


def weights(layers: Mapping[str, tuple[str, str]], *switches: Switch) -> tuple[Parameter, ...]:
    """The weights of linear layers that are never quantized, with input before output as Conv1D has them."""
    return tuple(
        Parameter(name=f"{name}.weight", shape=shape, switches=switches) for name, shape in layers.items()
    )
