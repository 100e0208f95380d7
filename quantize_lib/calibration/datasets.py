"""Text from a data set of the Hugging Face Hub, row by row and no more than is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from quantize_lib.calibration.conversations import Document
from quantize_lib.calibration.rows import cell
from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.errors import CalibrationError
from quantize_lib.hub.client import hub_client
from quantize_lib.hub.credentials import read_token
from quantize_lib.hub.explanations import quote, reading_errors
from quantize_lib.hub.retry import READING
from quantize_lib.hub.time_limits import limit_waits
from quantize_lib.wording import show

_COMMIT = re.compile(r"[0-9a-f]{40}")
ALTERNATIVE = 'Local text works too: `files: [calibration/*.txt]` or `texts: ["…"]`.'


def dataset_commit(dataset: str, revision: str, *, token: str | None) -> str:
    """The 40-hex commit that a data set's revision stands for now: one request.

    Args:
        dataset: Hub id.
        revision: branch, tag or commit.
        token: for a private or gated data set; None for `read_token`.

    Raises:
        CalibrationError: where there is no such data set or revision, or it cannot be looked up.
    """
    with _errors(dataset, revision):
        client = hub_client(token or read_token())
        commit = READING.call(lambda: client.dataset_info(dataset, revision=revision)).sha
    if commit is None or not _COMMIT.fullmatch(commit):
        raise CalibrationError(f"the Hub names no commit for data set {dataset}", hint=ALTERNATIVE)
    return commit


def read_dataset(spec: TextSpec, dataset: str, *, commit: str, token: str | None) -> Iterator[Document]:
    """The texts of a data set's column, as a stream.

    Args:
        spec: config, split and column.
        dataset: Hub id.
        commit: what to read it at.
        token: as for `dataset_commit`.

    Raises:
        CalibrationError: while iterating, where the data set, its config, split or column is not there.
    """
    return _rows(spec, dataset, commit, token or read_token())


def _rows(spec: TextSpec, dataset: str, commit: str, token: str | None) -> Iterator[Document]:
    place = f"data set {dataset}"
    rows = _opened(spec, dataset, commit, token)
    number = 0
    while True:
        with _foreign(spec, dataset):
            row = next(rows, None)
        if row is None:
            break
        number += 1
        yield from cell(row, spec.column, f"{place}, row {number}")
    if not number:
        raise CalibrationError(
            f"{place} has no rows in split {show(spec.split)}",
            hint=f"Name another `split:` or `config:`. {ALTERNATIVE}",
        )


def _opened(spec: TextSpec, dataset: str, commit: str, token: str | None) -> Iterator[Mapping[str, object]]:
    from datasets import load_dataset

    # It makes a client of its own.
    limit_waits()
    try:
        rows = load_dataset(
            dataset, spec.config, split=spec.split, revision=commit, streaming=True, token=token
        )
    except StopIteration:
        # From files without a row, which it looks into for the columns.
        return
    yield from rows


@contextmanager
def _foreign(spec: TextSpec, dataset: str) -> Iterator[None]:
    """Whatever `datasets` and the libraries below it raise over a foreign data set, as an error of ours."""
    import httpx2
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DatasetsError

    of_transport = OSError | httpx2.HTTPError
    with _errors(dataset, spec.revision):
        try:
            yield
        except Exception as error:
            if isinstance(error, of_transport) and not isinstance(error, DatasetsError | EmptyDatasetError):
                raise
            # An unknown config or split, a data set that is a script, a file that is damaged.
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CalibrationError(
                f"data set {dataset} cannot be read: {quote(first)}", hint=ALTERNATIVE
            ) from error


def _errors(dataset: str, revision: str) -> AbstractContextManager[None]:
    return reading_errors(
        dataset, revision, kind="data set", family=CalibrationError, alternative=ALTERNATIVE
    )
