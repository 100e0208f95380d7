"""What the Hub's client raises, as errors that say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from quantize_lib.errors import QuantizerError, SourceError
from quantize_lib.hub.credentials import redact


@contextmanager
def hub_errors(
    repository: str,
    revision: str,
    *,
    kind: str = "model",
    family: type[QuantizerError] = SourceError,
    alternative: str = "A local folder works too: ./folder.",
) -> Iterator[None]:
    """Turn the errors of huggingface_hub and its transport into one of ours.

    Args:
        repository: Hub id, for the message.
        revision: what was asked for.
        kind: `model` or `data set`.
        family: the class that is raised.
        alternative: what works without the Hub; ends the hint.

    Raises:
        QuantizerError: of the class `family`.
    """
    import httpx2
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except (OSError, httpx2.HTTPError, HFValidationError) as error:
        message, hint = _explain(error, repository, revision, kind)
        raise family(redact(message), hint=f"{hint} {alternative}") from error


def _explain(error: Exception, repository: str, revision: str, kind: str) -> tuple[str, str]:
    from huggingface_hub import errors

    shown = f"{kind} {repository}"
    match error:
        case errors.GatedRepoError():
            where = "datasets/" if kind == "data set" else ""
            return (
                f"{shown} is gated and this account has no access to it",
                f"Accept its terms at https://huggingface.co/{where}{repository}, then pass that account's "
                "token in HF_TOKEN_READ or HF_TOKEN.",
            )
        case errors.DisabledRepoError():
            return f"{shown} was disabled on the Hub", "Choose another one."
        case errors.RepositoryNotFoundError():
            # The Hub tells nobody which of the two it is; but 401 is the answer to who sent no token.
            token = (
                "a private one needs a token with read access in HF_TOKEN_READ or HF_TOKEN."
                if error.response.status_code == 401
                else "the account of the token in HF_TOKEN_READ or HF_TOKEN has no access to a private one "
                "of that name."
            )
            return f"{shown} does not exist on the Hub, or is private", f"Check the spelling; {token}"
        case errors.RevisionNotFoundError():
            return f"{shown} has no revision {revision!r}", "Name a branch, a tag or a commit that exists."
        case errors.OfflineModeIsEnabled():
            return (
                f"{shown} cannot be looked up: HF_HUB_OFFLINE is set",
                "Unset it.",
            )
        case errors.LocalEntryNotFoundError() if isinstance(error.__cause__, Exception):
            # What kept the client from a file that its cache does not hold either.
            return _explain(error.__cause__, repository, revision, kind)
        case errors.HFValidationError():
            return (
                f"{repository!r} is no Hub id",
                "An id is NAME or OWNER/NAME of letters, digits, - _ and . alone.",
            )
        case errors.HfHubHTTPError():
            status = error.response.status_code
            hints = {
                401: "The token in HF_TOKEN_READ or HF_TOKEN is not valid (any more).",
                403: "The token in HF_TOKEN_READ or HF_TOKEN may lack read access.",
            }
            hint = hints.get(status, "Try again later; files that have arrived are kept.")
            return f"{shown} cannot be read: the Hub answered {status}", hint
        case OSError() if error.errno == errno.ENOSPC:
            return (
                f"the disk is full while fetching {shown}",
                "Free some space, or set HF_HOME to a larger disk.",
            )
        case OSError() if error.errno in (errno.EACCES, errno.EROFS):
            return (
                f"{error.filename} cannot be written: {error.strerror}",
                "Set HF_HOME to a folder of your own.",
            )
        case _:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return (
                f"{shown} cannot be fetched: {lines[0]}",
                "Check the network connection.",
            )
