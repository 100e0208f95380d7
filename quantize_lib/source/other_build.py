"""Another build of a base model: a checkpoint that somebody else made, which ours are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantize_lib.architecture.language_model import block_count, hidden_size, text_config
from quantize_lib.errors import SourceError
from quantize_lib.hub.credentials import read_token
from quantize_lib.hub.remote_files import RemoteFile
from quantize_lib.reporting import Reporter
from quantize_lib.source.headers import INDEX, SINGLE, parse_index, shards_of
from quantize_lib.source.listing import Listing, check_pointers
from quantize_lib.source.local import content_hash, folder_listing
from quantize_lib.source.model_files import CONFIG, has_tokenizer, is_side_file, parse_config
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.recognise import no_config, no_weights

_HINT = (
    "compare_with takes checkpoints that transformers loads from safetensors, whole, with their tokenizer."
)


@dataclass(frozen=True, kw_only=True)
class OtherBuild:
    """What is known of it before its weights are read.

    Attributes:
        spec: as the manifest names it.
        revision: 40-hex commit on the Hub; `sha256:…` content hash of a folder.
        weight_bytes: of its files with weights.
        files: what is needed of a repository on the Hub, by name; empty for a folder.
    """

    spec: ModelSpec
    revision: str
    weight_bytes: int
    files: Mapping[str, RemoteFile] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As the manifest names it."""
        asked = self.spec.revision
        return self.spec.id if asked == ModelSpec.revision else f"{self.spec.id}@{asked}"


def find_build(spec: ModelSpec, base: Mapping[str, Any], *, base_id: str) -> OtherBuild:
    """Look at another build; nothing large is downloaded.

    Args:
        spec: as the manifest names it.
        base: `config.json` of the base model.
        base_id: the base model's name, for messages.

    Raises:
        SourceError: where it cannot be reached or read, has no safetensors weights, needs code of its own, or
            is made from another model.
    """
    if spec.local is not None:
        listing = folder_listing(spec, spec.local)
        shards = _shards(listing, base, base_id)
        return OtherBuild(
            spec=spec,
            revision=content_hash(spec, spec.local, shards, None),
            weight_bytes=sum(listing.sizes[name] for name in shards),
        )
    from quantize_lib.hub.explanations import reading_errors
    from quantize_lib.source.hub_model import hub_listing, resolve_hub

    token = read_token()
    resolved = resolve_hub(spec, token=token)
    with reading_errors(spec.id, resolved.revision):
        shards = _shards(hub_listing(spec, resolved, token=token), base, base_id)
    wanted = {CONFIG, INDEX, *shards}
    return OtherBuild(
        spec=spec,
        revision=resolved.revision,
        weight_bytes=sum(resolved.files[name].size for name in shards),
        files={name: file for name, file in resolved.files.items() if name in wanted or is_side_file(name)},
    )


def fetch_build(build: OtherBuild, reporter: Reporter) -> Path:
    """The folder of another build on this machine; one of the Hub is downloaded and checked.

    Raises:
        SourceError: where it cannot be reached, there is no room for it, or a file arrives damaged twice.
    """
    if build.spec.local is not None:
        return build.spec.local
    from quantize_lib.source.hub_files import fetch_files

    return fetch_files(build.spec, build.files, build.revision, reporter, token=read_token())


def _shards(listing: Listing, base: Mapping[str, Any], base_id: str) -> tuple[str, ...]:
    """The files of its weights."""
    check_pointers(listing)
    if CONFIG not in listing.sizes:
        raise _unfit(no_config(listing).message)
    _check_same(listing, parse_config(listing.read(CONFIG)), base, base_id)
    if not has_tokenizer(listing.sizes):
        raise _unfit(f"{listing.model.id} has no tokenizer")
    if SINGLE in listing.sizes:
        return (SINGLE,)
    if INDEX not in listing.sizes:
        raise _unfit(no_weights(listing).message)
    shards, missing = shards_of(parse_index(listing.read(INDEX)), listing.sizes)
    if missing:
        raise _unfit(f"{INDEX} names {missing[0]}, but {listing.model.id} does not hold it")
    return tuple(shards)


def _unfit(message: str) -> SourceError:
    return SourceError(message, hint=_HINT)


def _check_same(listing: Listing, config: Mapping[str, Any], base: Mapping[str, Any], base_id: str) -> None:
    """Refuse a build of another model: the same tokens would stand for other words."""
    for what, own, other in (
        ("type", config.get("model_type"), base.get("model_type")),
        ("vocabulary", text_config(config).get("vocab_size"), text_config(base).get("vocab_size")),
        ("width", hidden_size(config), hidden_size(base)),
        ("number of blocks", block_count(config), block_count(base)),
    ):
        if own != other:
            raise SourceError(
                f"{listing.model.id} is no build of {base_id}: by config.json its {what} is "
                f"{_words(own)}, not {_words(other)}",
                hint="compare_with takes checkpoints that were made from the same base model.",
            )


def _words(value: object) -> str:
    return str(value[1] if isinstance(value, tuple) else value)
