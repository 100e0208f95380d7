"""A base model on the Hugging Face Hub.

What is known before the download costs a few kilobytes: the list of files, config.json, and the beginning
of each shard by a range request. Everything is read at one commit, resolved once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from quantize_lib.architecture.placing import place
from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.errors import SourceError
from quantize_lib.hub.client import hub_client
from quantize_lib.hub.explanations import reading_errors
from quantize_lib.hub.remote_files import RemoteFile, fetch_file, read_start
from quantize_lib.hub.retry import READING
from quantize_lib.reporting import Reporter
from quantize_lib.source.base_card import MAX_BYTES, BaseCard, parse_card
from quantize_lib.source.card_rules import is_link
from quantize_lib.source.dequantized import dequantized_weights
from quantize_lib.source.facts import ModelFacts, ModelSource
from quantize_lib.source.foreign_code import brings_class
from quantize_lib.source.headers import (
    INDEX,
    LENGTH_BYTES,
    MAX_INDEX_BYTES,
    SINGLE,
    check_named_file,
    combine,
    header_length,
    parse_header,
    parse_index,
    shards_of,
    single_file,
)
from quantize_lib.source.hub_files import CONNECTIONS, fetch_files, not_cached
from quantize_lib.source.judge import check_model, read_config
from quantize_lib.source.listing import Listing
from quantize_lib.source.local import make_source, no_tokenizer
from quantize_lib.source.model_files import CARD, CONFIG, has_tokenizer, is_side_file
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.pickled import (
    PICKLED,
    PICKLED_INDEX,
    assumed_weights,
    has_pickled,
    is_pickled,
    parse_pickled_index,
)
from quantize_lib.source.recognise import no_weights
from quantize_lib.source.remote import Resolved, list_model

_FIRST_READ = 100_000
"""Most headers fit in this; the rest of the others is asked for again."""


def resolve_hub(model: ModelSpec, *, token: str | None) -> Resolved:
    """The commit that a Hub model's revision stands for now, with the list of its files.

    Raises:
        SourceError: where it cannot be reached, is not ours to read, or has no such revision.
    """
    with reading_errors(model.id, model.revision):
        return list_model(model, token=token)


def inspect_hub(model: ModelSpec, resolved: Resolved, *, token: str | None) -> ModelFacts:
    """What is known of a Hub model from its list of files, config and headers.

    Raises:
        SourceError: where it cannot be reached or used.
    """
    commit, files = resolved.revision, resolved.files
    with reading_errors(model.id, commit):
        listing = hub_listing(model, resolved, token=token)
        config = read_config(listing)
        weights = _read_weights(listing, files, config, commit, token)
        if model.allow_quantized_base:
            weights = dequantized_weights(config, weights)
        notes = check_model(listing, config, weights.tensors)
        own_class = brings_class(config, trusted=model.trust_remote_code)
        placed = place(config, weights, own_class=own_class)
        if not has_tokenizer(files):
            raise no_tokenizer(model)
        missing = not_cached(model, _needed(model, files, weights.files), commit)
        card = _card(model, files, commit, token)
    return ModelFacts(
        config=config,
        revision=commit,
        tensors=placed.tensors,
        layers=placed.structure.layers,
        kept=placed.structure.kept,
        blocks=(placed.structure.blocks,),
        experts=placed.structure.experts,
        conv1d=placed.structure.conv1d,
        strays=placed.strays,
        copied=placed.copied,
        weight_files=weights.files,
        weight_bytes=sum(files[file].size for file in weights.files),
        download_bytes=sum(file.size for file in missing.values()),
        files=files,
        terms=resolved.terms,
        card=card.fields,
        notes=(*notes, *placed.notes, *card.notes),
    )


def hub_listing(model: ModelSpec, resolved: Resolved, *, token: str | None) -> Listing:
    """What a repository holds at its commit; the client's errors while reading are for `reading_errors`."""
    commit, files = resolved.revision, resolved.files
    return Listing(
        model=model,
        where=model.id,
        sizes={name: file.size for name, file in files.items()},
        read=lambda name: _small_file(model, name, files, commit, token),
        header=lambda name: _remote_header(model, name, files[name].size, commit, token),
    )


def hub_card(model: ModelSpec, resolved: Resolved, *, token: str | None) -> BaseCard:
    """The card of a Hub model.

    Raises:
        SourceError: where it cannot be reached.
    """
    with reading_errors(model.id, resolved.revision):
        return _card(model, resolved.files, resolved.revision, token)


def fetch_hub(model: ModelSpec, facts: ModelFacts, reporter: Reporter, *, token: str | None) -> ModelSource:
    """Download what is needed of a Hub model, and check it.

    Raises:
        SourceError: as `fetch_files`.
    """
    needed = _needed(model, facts.files, facts.weight_files)
    return make_source(fetch_files(model, needed, facts.revision, reporter, token=token), facts)


def _card(model: ModelSpec, files: Mapping[str, RemoteFile], commit: str, token: str | None) -> BaseCard:
    """The model's card, read as a folder's is: the Hub's own reading tells of nothing that it leaves out."""
    count = min(files[CARD].size, MAX_BYTES) if CARD in files else 0
    if count == 0:
        return BaseCard()
    card = parse_card(read_start(hub_client(token), model.id, CARD, commit, count, retry=READING))
    link = card.fields.get("license_link", "")
    name = link.removeprefix("./")
    if is_link(link) or name not in files:
        return card
    # A file beside the card; from another repository it is found by its address.
    address = f"https://huggingface.co/{model.id}/blob/{commit}/{quote(name)}"
    return replace(card, fields={**card.fields, "license_link": address})


def _small_file(
    model: ModelSpec, name: str, files: Mapping[str, RemoteFile], commit: str, token: str | None
) -> bytes:
    size = files[name].size
    if size > MAX_INDEX_BYTES:
        raise SourceError(
            f"{model.id}: {name} has {size} bytes, more than the {MAX_INDEX_BYTES} that are allowed"
        )
    return fetch_file(hub_client(token), model.id, name, commit, retry=READING).read_bytes()


def _read_weights(
    listing: Listing,
    files: Mapping[str, RemoteFile],
    config: Mapping[str, Any],
    commit: str,
    token: str | None,
) -> Weights:
    model = listing.model

    def read(shard: str) -> dict[str, TensorInfo]:
        return _remote_header(model, shard, files[shard].size, commit, token)

    check_named_file(config, files)
    if SINGLE in files:
        return single_file(read(SINGLE), indexed=INDEX in files)
    if INDEX in files:
        weight_map = parse_index(_small_file(model, INDEX, files, commit, token))
        shards, _ = shards_of(weight_map, files)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            headers = dict(zip(shards, pool.map(read, shards), strict=True))
        return combine(weight_map, headers.__getitem__, there=files)
    if not (model.allow_pickle and has_pickled(files)):
        raise no_weights(listing)
    if PICKLED in files:
        return assumed_weights(config)
    weight_map = parse_pickled_index(_small_file(model, PICKLED_INDEX, files, commit, token))
    _, missing = shards_of(weight_map, files)
    if missing:
        raise SourceError(
            f"{PICKLED_INDEX} names {missing[0]}, but {model.id} does not hold it",
            hint="The repository is incomplete; choose another revision.",
        )
    return assumed_weights(config, weight_map)


def _remote_header(
    model: ModelSpec, shard: str, size: int, commit: str, token: str | None
) -> dict[str, TensorInfo]:
    client = hub_client(token)

    def start(count: int) -> bytes:
        return read_start(client, model.id, shard, commit, count, retry=READING)

    data = start(_FIRST_READ)
    length = header_length(data, file=shard, file_size=size)
    if LENGTH_BYTES + length > len(data):
        data = start(LENGTH_BYTES + length)
    return parse_header(data[LENGTH_BYTES : LENGTH_BYTES + length], file=shard, file_size=size)


def _needed(
    model: ModelSpec, files: Mapping[str, RemoteFile], shards: Collection[str]
) -> dict[str, RemoteFile]:
    index = PICKLED_INDEX if all(map(is_pickled, shards)) else INDEX
    wanted = {CONFIG, CARD, index, *shards}
    return {
        name: file
        for name, file in files.items()
        if name in wanted or is_side_file(name, code=model.trust_remote_code)
    }
