"""Files of a repository of the Hub, in the Hub's own cache (HF_HOME) and checked."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

from quantize_lib.errors import SourceError
from quantize_lib.hub.client import hub_client
from quantize_lib.hub.explanations import reading_errors
from quantize_lib.hub.remote_files import RemoteFile, fetch_file
from quantize_lib.hub.retry import READING
from quantize_lib.reporting import Progress, Reporter
from quantize_lib.source.local import SHOW_PROGRESS_FROM
from quantize_lib.source.model_files import CONFIG
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.remote import is_intact
from quantize_lib.text import format_bytes

CONNECTIONS = 8
"""Requests at a time."""


def fetch_files(
    model: ModelSpec, needed: Mapping[str, RemoteFile], commit: str, reporter: Reporter, *, token: str | None
) -> Path:
    """Download files of a model, `config.json` among them, and check them.

    Every file is compared with the hash in the Hub's list, also one that lay in the cache: neither the client
    nor its cache looks at more than sizes. A file that is not what the list says is fetched anew, once.

    Args:
        needed: by name, as the Hub lists them.

    Returns:
        The folder that they lie in.

    Raises:
        SourceError: where the Hub cannot be reached, there is no room for them, or a file arrives damaged
            twice.
    """
    client = hub_client(token)

    def download(names: Collection[str], *, force: bool) -> None:
        total = sum(needed[name].size for name in names)
        _check_room(model, total)
        with (
            reporter.progress(f"Downloading {model.name}", total, "B") as bar,
            ThreadPoolExecutor(CONNECTIONS) as pool,
        ):
            shown = _bar_class(bar)

            def one(name: str) -> None:
                fetch_file(client, model.id, name, commit, retry=READING, bar=shown, force=force)

            list(pool.map(one, names))

    with reading_errors(model.id, commit):
        download(not_cached(model, needed, commit), force=False)
        folder = fetch_file(client, model.id, CONFIG, commit, retry=READING).parent
        if damaged := _damaged(model, folder, needed, reporter):
            reporter.warning(f"{model.id}: {', '.join(damaged)} is damaged and fetched again")
            download(damaged, force=True)
            damaged = _damaged(model, folder, {name: needed[name] for name in damaged}, reporter)
    if damaged:
        raise SourceError(
            f"{model.id}: {', '.join(damaged)} arrived twice with other bytes than the Hub lists",
            hint="Check the disk of HF_HOME, and what stands between here and the Hub (a proxy, a mirror).",
        )
    return folder


def not_cached(model: ModelSpec, files: Mapping[str, RemoteFile], commit: str) -> dict[str, RemoteFile]:
    """Those of the files that are still to be downloaded."""
    from huggingface_hub import try_to_load_from_cache

    return {
        name: file
        for name, file in files.items()
        if not isinstance(try_to_load_from_cache(model.id, name, revision=commit), str)
    }


def _damaged(
    model: ModelSpec, folder: Path, files: Mapping[str, RemoteFile], reporter: Reporter
) -> list[str]:
    total = sum(file.size for file in files.values())
    lock = threading.Lock()
    with (
        reporter.progress(f"Checking {model.name}", total, "B")
        if total >= SHOW_PROGRESS_FROM
        else nullcontext() as bar,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):

        def advance(count: int) -> None:
            if bar is not None:
                with lock:
                    bar.advance(count)

        intact = pool.map(lambda name: is_intact(folder / name, files[name], advance=advance), files)
        return [name for name, good in zip(files, intact, strict=True) if not good]


def _check_room(model: ModelSpec, needed: int) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise SourceError(
            f"{model.id} needs {format_bytes(needed)} more on disk; {existing} has {format_bytes(free)} free",
            hint="Free some space, or set HF_HOME to a larger disk.",
        )


def _bar_class(bar: Progress) -> type[Any]:
    """What the Hub's client asks of a progress bar: shows nothing itself, hands on the bytes."""
    lock = threading.Lock()

    class Relay:
        def __init__(self, *, initial: int = 0, **_: object) -> None:
            # A download that goes on where it stopped says so here.
            self.update(initial)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def close(self) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            with lock:
                bar.advance(int(count or 0))

        def set_postfix_str(self, *_: object, **__: object) -> None:
            pass

    return Relay
