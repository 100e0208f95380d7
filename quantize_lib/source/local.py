"""A base model in a folder of this machine."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.architecture.placing import place
from quantize_lib.architecture.tensors import Weights
from quantize_lib.errors import SourceError
from quantize_lib.files import feed
from quantize_lib.reporting import Progress, Reporter
from quantize_lib.source.base_card import MAX_BYTES, BaseCard, parse_card
from quantize_lib.source.dequantized import dequantized_weights
from quantize_lib.source.facts import ModelFacts, ModelSource
from quantize_lib.source.foreign_code import brings_class
from quantize_lib.source.headers import (
    INDEX,
    SINGLE,
    check_named_file,
    combine,
    parse_index,
    read_header,
    shards_of,
    single_file,
)
from quantize_lib.source.judge import check_model, read_config
from quantize_lib.source.listing import Listing, sizes_in
from quantize_lib.source.model_files import (
    CARD,
    CONFIG,
    has_tokenizer,
    side_files,
)
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.pickled import (
    PICKLED,
    PICKLED_INDEX,
    assumed_weights,
    has_pickled,
    parse_pickled_index,
)
from quantize_lib.source.recognise import no_weights
from quantize_lib.source.terms import terms_of

SHOW_PROGRESS_FROM = 1 << 30


def inspect_local(model: ModelSpec, folder: Path, reporter: Reporter | None = None) -> ModelFacts:
    """What is known of a local model from its config and headers; its content hash is its revision.

    Raises:
        SourceError: where the folder or its files cannot be used.
    """
    facts = read_facts(model, folder, revision="")
    return replace(facts, revision=content_hash(model, folder, facts.weight_files, reporter))


def read_facts(model: ModelSpec, folder: Path, *, revision: str) -> ModelFacts:
    """As `inspect_local`, for a folder whose revision is known already: nothing is hashed.

    Raises:
        SourceError: where the folder or its files cannot be used.
    """
    if not folder.exists():
        raise SourceError(
            f"{model.id}: there is no such folder ({folder})",
            hint="Paths in a manifest are relative to the manifest.",
        )
    if not folder.is_dir():
        raise SourceError(f"{model.id}: {folder} is a file; a model is a folder")
    listing = folder_listing(model, folder)
    config = read_config(listing)
    names = [path.name for path in folder.iterdir()]
    weights = _read_weights(listing, folder, config, names)
    if model.allow_quantized_base:
        weights = dequantized_weights(config, weights)
    notes = check_model(listing, config, weights.tensors)
    own_class = brings_class(config, trusted=model.trust_remote_code)
    placed = place(config, weights, own_class=own_class)
    if not has_tokenizer(names):
        raise no_tokenizer(model)
    card = base_card(folder)
    return ModelFacts(
        config=config,
        revision=revision,
        tensors=placed.tensors,
        layers=placed.structure.layers,
        kept=placed.structure.kept,
        blocks=(placed.structure.blocks,),
        experts=placed.structure.experts,
        conv1d=placed.structure.conv1d,
        strays=placed.strays,
        copied=placed.copied,
        weight_files=weights.files,
        weight_bytes=sum((folder / file).stat().st_size for file in weights.files),
        download_bytes=0,
        terms=terms_of(card.fields, restricted=card.restricted),
        card=card.fields,
        notes=(*notes, *placed.notes, *card.notes),
    )


def base_card(folder: Path) -> BaseCard:
    """The card of a model folder; an empty one where there is none.

    Raises:
        SourceError: where the file cannot be read.
    """
    path = folder / CARD
    return parse_card(_read(path, limit=MAX_BYTES)) if path.is_file() else BaseCard()


def make_source(folder: Path, facts: ModelFacts) -> ModelSource:
    """A model folder with what its card says."""
    license_name = facts.card.get("license")
    return ModelSource(
        folder=folder,
        facts=facts,
        license=license_name if isinstance(license_name, str) else None,
        card=facts.card,
    )


def no_tokenizer(model: ModelSpec) -> SourceError:
    """The error for a model without a tokenizer."""
    return SourceError(
        f"{model.id} has no tokenizer (tokenizer.json, tokenizer.model or vocab.json)",
        hint="Copy the tokenizer's files of the base model into the folder.",
    )


def folder_listing(model: ModelSpec, folder: Path) -> Listing:
    """What lies in a folder."""
    return Listing(
        model=model,
        where=str(folder),
        sizes=sizes_in(folder),
        read=lambda name: _read(_inside(folder, name)),
        header=lambda name: read_header(_inside(folder, name), file=name),
    )


def _read_weights(listing: Listing, folder: Path, config: Mapping[str, Any], names: list[str]) -> Weights:
    check_named_file(config, names)
    # transformers takes the single file where both are there.
    if (folder / SINGLE).is_file():
        return single_file(read_header(_inside(folder, SINGLE), file=SINGLE), indexed=INDEX in names)
    if (folder / INDEX).is_file():
        weight_map = parse_index(_read(_inside(folder, INDEX)))
        return combine(
            weight_map, lambda shard: read_header(_inside(folder, shard), file=shard), there=listing.sizes
        )
    if not (listing.model.allow_pickle and has_pickled(names)):
        raise no_weights(listing)
    if (folder / PICKLED).is_file():
        return assumed_weights(config)
    weight_map = parse_pickled_index(_read(_inside(folder, PICKLED_INDEX)))
    _, missing = shards_of(weight_map, listing.sizes)
    if missing:
        raise SourceError(
            f"{PICKLED_INDEX} names {missing[0]}, but {folder} does not hold it",
            hint="The model is incomplete; fetch it again.",
        )
    return assumed_weights(config, weight_map)


def _inside(folder: Path, name: str) -> Path:
    """The path of a file that must lie in the folder, links followed.

    The Hub's cache keeps a snapshot's bytes in a folder of its own, two levels up: that is inside too.
    """
    path = folder / name
    roots = [folder.resolve()]
    if folder.parent.name == "snapshots":
        roots.append((folder.parent.parent / "blobs").resolve())
    if not any(path.resolve().is_relative_to(root) for root in roots):
        raise SourceError(
            f"{name} is a link that leads out of {folder}",
            hint="Copy the folder with its links resolved (cp -rL).",
        )
    return path


def _read(path: Path, *, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        reason = "permission denied" if error.errno == errno.EACCES else error.strerror
        raise SourceError(f"{path} cannot be read: {reason}") from error


def content_hash(model: ModelSpec, folder: Path, shards: Sequence[str], reporter: Reporter | None) -> str:
    """sha256 over the names, sizes and bytes of every file that decides what comes out."""
    side = [path.relative_to(folder).as_posix() for path in side_files(folder, code=model.trust_remote_code)]
    names = sorted({CONFIG, *shards, *side})
    paths = [_inside(folder, name) for name in names]
    total = sum(path.stat().st_size for path in paths)
    digest = hashlib.sha256()
    with (
        reporter.progress(f"Hashing {model.name}", total, "B")
        if reporter is not None and total >= SHOW_PROGRESS_FROM
        else nullcontext()
    ) as bar:
        for name, path in zip(names, paths, strict=True):
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            _feed(digest, path, bar)
    return f"sha256:{digest.hexdigest()}"


def _feed(digest: hashlib._Hash, path: Path, bar: Progress | None) -> None:
    try:
        feed(digest, path, None if bar is None else bar.advance)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
