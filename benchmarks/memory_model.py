"""Llama and mixture shapes with random weights, written block by block, for measuring memory and time.

    python -m benchmarks.memory_model FOLDER --hidden 4096 --mlp 11008 --heads 32 --blocks 32

The weights mean nothing; sizes, headers and the code that runs are those of a real model.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY_LEAST = 256 + 3
"""Bytes and special tokens of the tokenizer that lies beside the weights."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama's sizes, or those of a Qwen3 mixture.

    Attributes:
        mlp: of each expert in a mixture.
        heads: of the queries.
        key_value_heads: None where there are as many.
        head_dim: None where the heads share the hidden size.
        experts: 0 for a Llama.
        chosen: how many experts each token goes to.
    """

    hidden: int
    mlp: int
    heads: int
    blocks: int
    vocabulary: int = 32_000
    key_value_heads: int | None = None
    head_dim: int | None = None
    experts: int = 0
    chosen: int = 0

    @property
    def head_width(self) -> int:
        """Of one head."""
        return self.head_dim or self.hidden // self.heads

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """A block's, (out, in) by relative name."""
        hidden, queries = self.hidden, self.heads * self.head_width
        keys = (self.key_value_heads or self.heads) * self.head_width
        found = {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.o_proj": (hidden, queries),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
        }
        places = [f"mlp.experts.{number}" for number in range(self.experts)] or ["mlp"]
        for place in places:
            found |= {f"{place}.{word}_proj": (self.mlp, hidden) for word in ("gate", "up")}
            found[f"{place}.down_proj"] = hidden, self.mlp
        if self.experts:
            found["mlp.gate"] = self.experts, hidden
        return found

    @property
    def norms(self) -> dict[str, int]:
        """A block's, by relative name."""
        found = dict.fromkeys(("input_layernorm", "post_attention_layernorm"), self.hidden)
        if self.experts:
            found |= dict.fromkeys(("self_attn.q_norm", "self_attn.k_norm"), self.head_width)
        return found

    @property
    def block_values(self) -> int:
        """Weights of one block."""
        return sum(rows * columns for rows, columns in self.matrices.values()) + sum(self.norms.values())


def make_model(folder: Path, shape: Shape) -> Path:
    """Write a model in bfloat16, one shard per block, never more than one block in memory."""
    import torch
    from safetensors.torch import save_file
    from torch import Tensor

    folder.mkdir(parents=True)
    _config(shape).save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    index: dict[str, str] = {}

    def normal(rows: int, columns: int) -> Tensor:
        values = torch.empty(rows, columns, dtype=torch.bfloat16)
        return values.normal_(0.0, 1 / math.sqrt(columns), generator=generator)

    def write(number: int, tensors: dict[str, Tensor]) -> None:
        name = f"model-{number + 1:05d}-of-{shape.blocks + 1:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        index.update(dict.fromkeys(tensors, name))

    hidden = shape.hidden
    for block in range(shape.blocks):
        tensors = {name: normal(*size) for name, size in shape.matrices.items()}
        tensors |= {name: torch.ones(size, dtype=torch.bfloat16) for name, size in shape.norms.items()}
        write(block, {f"model.layers.{block}.{name}.weight": tensor for name, tensor in tensors.items()})
    write(
        shape.blocks,
        {
            "model.embed_tokens.weight": normal(shape.vocabulary, hidden),
            "lm_head.weight": normal(shape.vocabulary, hidden),
            "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16),
        },
    )
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index}), encoding="utf-8"
    )
    _save_tokenizer(folder)
    return folder


def _config(shape: Shape) -> Any:
    from transformers import LlamaConfig, Qwen3MoeConfig

    words: dict[str, Any] = {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.blocks,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads or shape.heads,
        "vocab_size": shape.vocabulary,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": "bfloat16",
    }
    if not shape.experts:
        return LlamaConfig(**words, architectures=["LlamaForCausalLM"])
    words |= {
        "head_dim": shape.head_width,
        "moe_intermediate_size": shape.mlp,
        "num_experts": shape.experts,
        "num_experts_per_tok": shape.chosen,
    }
    return Qwen3MoeConfig(**words, architectures=["Qwen3MoeForCausalLM"])


def _save_tokenizer(folder: Path) -> None:
    """One token per byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def make_text(file: Path, tokens: int) -> Path:
    """Write random letters that give at least so many tokens."""
    letters = random.Random(0).choices(string.ascii_lowercase + "    ", k=tokens + tokens // 8)
    file.write_text("".join(letters), encoding="utf-8")
    return file


def main() -> int:
    """Make a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    for word in ("hidden", "mlp", "heads", "blocks"):
        parser.add_argument(f"--{word}", type=int, required=True)
    parser.add_argument("--key-value-heads", type=int, help="default: as many as --heads")
    parser.add_argument("--vocabulary", type=int, default=32_000, help="at least 259; default: 32,000")
    parser.add_argument("--head-dim", type=int, help="default: hidden / heads")
    parser.add_argument("--experts", type=int, default=0, help="of a mixture; --mlp is then each one's")
    parser.add_argument("--chosen", type=int, default=0, help="experts that each token goes to")
    words = vars(parser.parse_args())
    make_model(words.pop("folder"), Shape(**words))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
