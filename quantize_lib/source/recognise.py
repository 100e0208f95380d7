"""What lies where a base model should be and is none, by its name and with the next step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from quantize_lib.errors import SourceError
from quantize_lib.source.headers import INDEX, SINGLE
from quantize_lib.source.listing import Listing
from quantize_lib.source.model_files import ADAPTER_CONFIG, CONFIG, pickled_weights
from quantize_lib.source.pickled import PICKLED, has_pickled
from quantize_lib.source.quantized import first_quantized
from quantize_lib.source.wrapped import has_adapter
from quantize_lib.text import plain
from quantize_lib.wording import joined, show

_ADAPTERS = (ADAPTER_CONFIG, "adapter_model.*", "adapters.safetensors", "pytorch_lora_weights.*")
_MERGE = (
    "Merge it first: load it with peft's AutoPeftModelForCausalLM.from_pretrained, call "
    "merge_and_unload(), save what "
    "that gives and the tokenizer with save_pretrained, and name that folder."
)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
_STATE = ("training_args.*", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*", "non_lora_trainables.*")
"""What training leaves beside the weights."""
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """Weights that transformers does not read.

    Attributes:
        patterns: of file names, those in folders too.
        what: completes "has its weights …".
        hint: the next step.
    """

    patterns: tuple[str, ...]
    what: str
    hint: str


_FULL = "Name the transformers model in safetensors that it was made from."
_KINDS = (
    _Kind(
        patterns=("consolidated*.safetensors", "consolidated*.pt*", "params.json"),
        what="in their publisher's own layout alone",
        hint="Name the repository's transformers form (often called …-hf), or convert the folder with "
        "the script "
        "convert_llama_weights_to_hf.py or convert_mistral_weights_to_hf.py of transformers.",
    ),
    _Kind(
        patterns=("*.gguf",),
        what="as GGUF alone",
        hint="GGUF files are quantized already, most of them. " + _FULL,
    ),
    _Kind(patterns=("*.onnx", "*.onnx_data"), what="as ONNX alone", hint=_FULL),
    _Kind(
        patterns=("tf_model*.h5", "*.keras", "*saved_model.pb", "*.ckpt.index"),
        what="for TensorFlow alone",
        hint="Load it once with from_tf=True in transformers 4, save it with save_pretrained, and name "
        "that folder.",
    ),
    _Kind(
        patterns=("flax_model*.msgpack",),
        what="for Flax alone",
        hint="Load it once with from_flax=True in transformers 4, save it with save_pretrained, and name "
        "that "
        "folder.",
    ),
    _Kind(patterns=("rust_model.ot",), what="for rust-bert alone", hint=_FULL),
    _Kind(patterns=("*openvino*.xml", "*openvino*.bin"), what="for OpenVINO alone", hint=_FULL),
    _Kind(patterns=("*.mlmodel", "*.mlpackage/*"), what="for Core ML alone", hint=_FULL),
    _Kind(patterns=("*.tflite", "*.litertlm", "*.task"), what="for LiteRT alone", hint=_FULL),
    _Kind(patterns=("*.pte",), what="for ExecuTorch alone", hint=_FULL),
    _Kind(patterns=("*.engine",), what="for TensorRT alone", hint=_FULL),
    _Kind(patterns=("*.nemo",), what="for NeMo alone", hint=_FULL),
    _Kind(patterns=("*.npz",), what="as NumPy arrays alone", hint=_FULL),
    _Kind(
        patterns=("*.distcp", "*zero_pp_rank_*", "zero_to_fp32.py"),
        what="as the state of a distributed training alone",
        hint="Join it first (`python zero_to_fp32.py` for DeepSpeed, `accelerate merge-weights` for "
        "FSDP), save the "
        "model with save_pretrained, and name that folder.",
    ),
    _Kind(
        patterns=("model_index.json",),
        what="as the parts of a diffusion pipeline",
        hint="Name a causal language model.",
    ),
    _Kind(
        patterns=("*.zip", "*.tar", "*.tar.gz", "*.tgz", "*.tar.zst", "*.7z"),
        what="in an archive alone",
        hint="Unpack it, and name the folder with its config.json.",
    ),
)


def no_config(listing: Listing) -> SourceError:
    """The error for a place without config.json, which says what is there instead."""
    names = listing.top
    if _matching(names, _ADAPTERS):
        return _adapter(listing)
    if not any(not name.startswith(".") for name in listing.sizes):
        return SourceError(
            f"{_place(listing)} is empty",
            hint="A model folder holds config.json, *.safetensors and the tokenizer's files.",
        )
    found = None if SINGLE in names or INDEX in names else _nested(listing) or _kind(listing)
    return found or SourceError(
        f"{_place(listing)} has no {CONFIG}",
        hint="A model folder holds config.json, *.safetensors and the tokenizer's files.",
    )


def no_weights(listing: Listing) -> SourceError:
    """The error for a model without weights that are read, which says what is there instead."""
    model, names = listing.model, listing.top
    if has_pickled(names) and not model.allow_pickle:
        return _pickled(listing, pickled_weights(names))
    if _matching(names, _ADAPTERS):
        return _adapter(listing)
    found = _shards(listing) or _renamed(listing) or _kind(listing)
    if found is not None:
        return found
    # Training leaves its own state, which is nobody's weights.
    pickled = [name for name in pickled_weights(names) if not _matching([name], _STATE)]
    return _pickled(listing, pickled) if pickled else _nested(listing) or _nothing(listing)


def adapter_note(listing: Listing) -> tuple[str, ...]:
    """What is to be told of an adapter beside a full model."""
    if ADAPTER_CONFIG not in listing.sizes:
        return ()
    return (
        f"{ADAPTER_CONFIG} lies beside the weights: the adapter{_made_for(listing)} is not applied and "
        "does not "
        "travel; where the weights do not hold it yet, merge it first",
    )


def _place(listing: Listing) -> str:
    return listing.where if listing.model.local is None else f"{listing.model.id}: {listing.where}"


def _adapter(listing: Listing) -> SourceError:
    described = listing.json(ADAPTER_CONFIG)
    kind = described.get("peft_type")
    kind = f" ({show(kind)})" if isinstance(kind, str) else ""
    return SourceError(
        f"{listing.model.id} is an adapter{kind}{_made_for(listing)}, not a whole model", hint=_MERGE
    )


def _made_for(listing: Listing) -> str:
    base = listing.json(ADAPTER_CONFIG).get("base_model_name_or_path")
    return f" for {show(base)}" if isinstance(base, str) and base else ""


def _shards(listing: Listing) -> SourceError | None:
    """Shards that nothing lists."""
    found = [(name, match) for name in _safetensors(listing) if (match := _SHARD.fullmatch(name))]
    if not found or INDEX in listing.sizes:
        return None
    first, match = found[0]
    stem, count = match["stem"], int(match["count"])
    missing = count - len({m["number"] for _, m in found if m["stem"] == stem and int(m["count"]) == count})
    if missing > 0:
        hint = f"{missing} of {count} shards are missing as well; fetch the model again."
    elif count == 1:
        hint = f"It is the only shard: rename it to {SINGLE}."
    else:
        hint = f"Fetch {INDEX} from where the shards come from, or save the model again with save_pretrained."
    return SourceError(f"{listing.model.id} has shards ({first}), but no {INDEX} that lists them", hint=hint)


def _renamed(listing: Listing) -> SourceError | None:
    """Weights under a name that transformers does not look for."""
    names = _safetensors(listing)
    if not names:
        return None
    tensors = listing.header(names[0])
    if has_adapter(tensors):
        return _adapter(listing)
    if (quantized := first_quantized(tensors)) is not None:
        info, how = quantized
        return SourceError(
            f"{listing.model.id} is already quantized ({how}): {plain(info.file)} holds {info.name}, "
            f"{info.dtype}",
            hint="Name the full-precision model that it was made from.",
        )
    hint = f"Rename it to {SINGLE}."
    if len(names) > 1:
        hint = f"The one file with the weights is called {SINGLE}; several need {INDEX} to list them."
    elif listing.model.local is None:
        hint = f"Download it, rename the file to {SINGLE}, and name that folder."
    return SourceError(
        f"{listing.model.id} has weights under another name than {SINGLE} ({_listed(names)})", hint=hint
    )


def _safetensors(listing: Listing) -> list[str]:
    """Files in safetensors that are not in their publisher's own layout."""
    own = next(kind.patterns for kind in _KINDS if "params.json" in kind.patterns)
    return [name for name in listing.top if name.endswith(".safetensors") and not _matching([name], own)]


def _kind(listing: Listing) -> SourceError | None:
    for kind in _KINDS:
        found = _matching(sorted(listing.sizes), kind.patterns)
        if found:
            return _as(listing.model.id, _listed(found), kind)
    return None


def _as(model_id: str, found: str, kind: _Kind) -> SourceError:
    return SourceError(
        f"{model_id} has its weights {kind.what} ({found}), which cannot be read", hint=kind.hint
    )


def _nested(listing: Listing) -> SourceError | None:
    """A model in a folder of the folder."""
    endings = (f"/{CONFIG}", f"/{ADAPTER_CONFIG}")
    folders = [name.rpartition("/")[0] for name in sorted(listing.sizes) if name.endswith(endings)]
    if not folders:
        return None
    if listing.model.local is not None:
        hint = f"Name that folder: {listing.model.id.rstrip('/')}/{folders[0]}"
    else:
        hint = (
            "A Hub model lies at the top of its repository: download the folder, and name it as a local one."
        )
    missing = f"neither {SINGLE} nor {INDEX}" if CONFIG in listing.sizes else f"no {CONFIG}"
    return SourceError(
        f"{listing.model.id} has {missing}, but holds a folder with a model ({_listed(folders)})", hint=hint
    )


def _pickled(listing: Listing, pickled: list[str]) -> SourceError:
    model = listing.model
    if model.allow_pickle:
        return SourceError(
            f"{model.id} has neither safetensors nor {PICKLED}, but {pickled[0]}, which cannot be read",
            hint="Save it once with transformers' save_pretrained, which writes safetensors.",
        )
    return SourceError(
        f"{model.id} has pickled weights alone ({pickled[0]}); reading them can run foreign code",
        hint="Choose a revision with *.safetensors, or save it once with transformers' save_pretrained; "
        "pickled weights are refused unless the model says allow_pickle: true.",
    )


def _nothing(listing: Listing) -> SourceError:
    return SourceError(
        f"{listing.model.id} has neither {SINGLE} nor {INDEX}", hint="Weights are read from safetensors only."
    )


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that one of the patterns fits, whole or without their folder, in whatever case."""
    return [
        name
        for name in names
        if any(
            fnmatchcase(part, p) for p in patterns for part in (name.lower(), name.rpartition("/")[2].lower())
        )
    ]


def _listed(names: list[str]) -> str:
    shown = [plain(name) for name in names[:_NAMED]]
    return joined([*shown, f"{len(names) - _NAMED} more"] if len(names) > _NAMED else shown)
