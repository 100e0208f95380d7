"""The files that a base model's tokenizer is made of, known by their digests and brought here where small."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quantize_lib.errors import SourceError
from quantize_lib.files import sha256_file
from quantize_lib.generation_config import NAME as GENERATION_CONFIG
from quantize_lib.hub.client import hub_client
from quantize_lib.hub.credentials import read_token
from quantize_lib.hub.explanations import reading_errors
from quantize_lib.hub.remote_files import RemoteFile, fetch_file
from quantize_lib.hub.retry import READING
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_files import CONFIG, is_tokenizer_file
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.remote import is_intact

SMALL_BYTES = 64_000_000
"""All files together; the largest vocabularies of known models have about half of it."""
_CONNECTIONS = 4


def tokenizer_digests(model: ModelSpec, facts: ModelFacts) -> dict[str, str]:
    """The digest of every file that is tried before the download, by name; nothing is fetched.

    Args:
        facts: of the model; a Hub model's list of files.

    Raises:
        SourceError: where a local file cannot be read.
    """
    if model.local is None:
        return {name: file.sha256 or file.oid or facts.revision for name, file in _remote(facts).items()}
    names = [name for path in model.local.iterdir() if path.is_file() and _counts(name := path.name)]
    try:
        return {name: sha256_file(model.local / name) for name in sorted(names)}
    except OSError as error:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error


def tokenizer_folder(model: ModelSpec, facts: ModelFacts) -> Path | None:
    """A folder with these files: the model's own, or the Hub's cache after they were fetched into it.

    Returns:
        None where they are too large to be fetched before the model is.

    Raises:
        SourceError: where they cannot be fetched.
    """
    if model.local is not None:
        return model.local
    files = _remote(facts)
    if sum(file.size for file in files.values()) > SMALL_BYTES:
        return None
    with reading_errors(model.id, facts.revision), ThreadPoolExecutor(_CONNECTIONS) as pool:
        paths = list(pool.map(lambda name: _fetched(model, name, files[name], facts.revision), files))
    return paths[0].parent


def _counts(name: str) -> bool:
    # Not of the tokenizer, but read beside it: as small, and as able to end a load.
    return name in (CONFIG, GENERATION_CONFIG) or is_tokenizer_file(name)


def _remote(facts: ModelFacts) -> dict[str, RemoteFile]:
    return {name: file for name, file in sorted(facts.files.items()) if _counts(name)}


def _fetched(model: ModelSpec, name: str, file: RemoteFile, commit: str) -> Path:
    """A file with the bytes that the Hub lists: what lay in the cache is compared, too."""
    client = hub_client(read_token())
    for force in (False, True):
        path = fetch_file(client, model.id, name, commit, retry=READING, force=force)
        if is_intact(path, file, advance=lambda _: None):
            return path
    raise SourceError(
        f"{model.id}: {name} arrived twice with other bytes than the Hub lists",
        hint="Check the disk of HF_HOME, and what stands between here and the Hub (a proxy, a mirror).",
    )
