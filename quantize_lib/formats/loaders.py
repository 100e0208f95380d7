"""What the loaders' code makes of model types: facts that no config and no tensor tells."""

from __future__ import annotations

FUSED_EXPERTS = "no loader reads quantized experts where one tensor of the files holds those of all"
LISTED_EXPERTS = frozenset({"llama4_text"})
"""Model types whose experts transformers replaces by a list of modules where it loads a quantized checkpoint
(its MODULES_TO_PATCH_FOR_QUANTIZATION), though the files hold them in one tensor."""
WANT_WEIGHTS = frozenset(
    [
        # _init_weights of these classes runs over layers that are quantized, too.
        *("falcon_mamba", "gpt_bigcode", "mamba", "mamba2", "modernbert-decoder", "nanochat"),
        *("recurrent_gemma", "rwkv"),
        # Its attention multiplies with a layer's weight itself.
        "reformer",
        # Blocks of these share layers, and are tied by their weights.
        *("zamba", "zamba2"),
    ]
)
"""Model types whose classes ask every layer for its weight, which a loader's own layer has no more."""
WANTS_WEIGHTS = "transformers asks the layers of its class for weights that quantized ones do not have"
OWN_LAYERS = frozenset({"falcon"})
"""Model types whose layers are a subclass of nn.Linear that computes with its weight by itself."""
KEEPS_LAYERS = "its layers are of a class of their own, which the loader does not replace"
ROUNDS_AGAIN = frozenset({"rwkv"})
"""Model types whose classes round some 4-bit layers of bitsandbytes again as they are first called, with a
type of numbers that the config does not say."""
IN_FLOAT32_ALONE = frozenset({"hy_v4", "reformer", "xlnet"})
"""Model types whose classes multiply float32 by 16 bits where layers of bitsandbytes are in them."""
FOUR_DIMENSIONS = frozenset({"prophetnet"})
"""Model types that call most layers with inputs of four dimensions (batch, streams, tokens, channels)."""
