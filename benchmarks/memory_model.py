"""Llama shapes with random weights, made and written block by block, for measuring memory and time.

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

VOCABULARY_LEAST = 256 + 3
"""Bytes and special tokens of the tokenizer that lies beside the weights."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama's sizes.

    Attributes:
        heads: of the queries.
        key_value_heads: None where there are as many.
    """

    hidden: int
    mlp: int
    heads: int
    blocks: int
    vocabulary: int = 32_000
    key_value_heads: int | None = None

    @property
    def key_value_width(self) -> int:
        """Outputs of the key and of the value projection."""
        return self.hidden // self.heads * (self.key_value_heads or self.heads)

    @property
    def block_values(self) -> int:
        """Weights of one block."""
        attention = 2 * self.hidden * (self.hidden + self.key_value_width)
        return attention + 3 * self.hidden * self.mlp + 2 * self.hidden


def make_model(folder: Path, shape: Shape) -> Path:
    """Write a model in bfloat16, one shard per block, never more than one block in memory."""
    import torch
    from safetensors.torch import save_file
    from torch import Tensor
    from transformers import LlamaConfig

    folder.mkdir(parents=True)
    LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.blocks,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads or shape.heads,
        vocab_size=shape.vocabulary,
        bos_token_id=1,
        eos_token_id=2,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    index: dict[str, str] = {}

    def normal(rows: int, columns: int) -> Tensor:
        values = torch.empty(rows, columns, dtype=torch.bfloat16)
        return values.normal_(0.0, 1 / math.sqrt(columns), generator=generator)

    def write(number: int, tensors: dict[str, Tensor]) -> None:
        name = f"model-{number + 1:05d}-of-{shape.blocks + 1:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        index.update(dict.fromkeys(tensors, name))

    hidden, mlp = shape.hidden, shape.mlp
    ones = torch.ones(hidden, dtype=torch.bfloat16)
    for block in range(shape.blocks):
        linears = {f"self_attn.{word}_proj": (hidden, hidden) for word in "qo"}
        linears |= {f"self_attn.{word}_proj": (shape.key_value_width, hidden) for word in "kv"}
        linears |= {"mlp.gate_proj": (mlp, hidden), "mlp.up_proj": (mlp, hidden)}
        linears |= {"mlp.down_proj": (hidden, mlp)}
        tensors = {name: normal(*size) for name, size in linears.items()}
        tensors |= {name: ones.clone() for name in ("input_layernorm", "post_attention_layernorm")}
        write(block, {f"model.layers.{block}.{name}.weight": tensor for name, tensor in tensors.items()})
    write(
        shape.blocks,
        {
            "model.embed_tokens.weight": normal(shape.vocabulary, hidden),
            "lm_head.weight": normal(shape.vocabulary, hidden),
            "model.norm.weight": ones,
        },
    )
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index}), encoding="utf-8"
    )
    _save_tokenizer(folder)
    return folder


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
    words = vars(parser.parse_args())
    make_model(words.pop("folder"), Shape(**words))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
