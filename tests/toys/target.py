"""A target of a test: a shelf, one archive a repository. This file is all that there is of it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.options import Option, PathOption
from quantize_lib.targets.entry import Target
from quantize_lib.targets.publish_spec import PublishSpec

if TYPE_CHECKING:
    from quantize_lib.publish.base import Publisher

SHELF = PathOption(
    name="shelf",
    default=Path("shelf"),
    words={"title": "Shelf", "description": "The folder of the archives.", "type": "string"},
)
LABELS = Option(
    name="labels",
    default=0,
    words={"title": "Labels", "description": "How many labels each gets.", "type": "integer", "minimum": 0},
)


def make_publisher(spec: PublishSpec) -> Publisher:
    """What puts archives on the shelf; a class of a module of its own, where it is no toy."""
    from quantize_lib.errors import PublishError
    from quantize_lib.publish.base import OPEN, Origin, Published, PublishedState, Publisher
    from quantize_lib.publish.verify import recorded_files, verify_checkpoint
    from quantize_lib.report.records import RECORD_FILE

    class Shelf(Publisher):
        def current(self, repository: str, part: str = "") -> PublishedState | None:
            record = self.record(repository, part)
            if record is None:
                return None
            return PublishedState(fingerprint=record["fingerprint"], commit=record["fingerprint"][:40])

        def record(self, repository: str, part: str = "") -> Mapping[str, Any] | None:
            archive = self._archive(repository, part)
            if not archive.exists():
                return None
            with tarfile.open(archive) as file:
                member = file.extractfile(RECORD_FILE)
                return None if member is None else dict(json.load(member))

        def publish(
            self,
            checkpoint: Path,
            repository: str,
            *,
            fingerprint: str,
            message: str,
            part: str = "",
            origin: Origin = OPEN,
            force: bool = False,
        ) -> Published:
            del message, origin, force
            files = recorded_files(checkpoint, fingerprint)
            verify_checkpoint(checkpoint, files)
            archive = self._archive(repository, part)
            state = self.current(repository, part)
            if state is None or state.fingerprint != fingerprint:
                try:
                    archive.parent.mkdir(parents=True, exist_ok=True)
                    with tarfile.open(archive, "w") as file:
                        for name in files:
                            file.add(checkpoint / name, name)
                except OSError as error:
                    raise PublishError(f"{archive} cannot be written: {error}") from error
            return Published(commit=fingerprint[:40])

        def _archive(self, repository: str, part: str) -> Path:
            # Parts of a repository stand beside each other here as well.
            name = ".".join(filter(None, (repository.replace("/", "--"), part, str(spec[LABELS]))))
            return spec[SHELF] / f"{name}.tar"

    return Shelf()


def need_card() -> None:
    """Whoever has a card may use the shelf."""
    import os

    from quantize_lib.errors import UsageError

    if "SHELF_CARD" not in os.environ:
        raise UsageError("publish.to: toy needs a card", hint="Set SHELF_CARD.")


TARGET = Target(
    name="toy",
    order=9,
    place="a shelf",
    summary="a shelf of archives",
    label="the shelf {shelf}",
    publisher="quantize_lib.targets.toy:make_publisher",
    options=(SHELF, LABELS),
    credentials="quantize_lib.targets.toy:need_card",
)
