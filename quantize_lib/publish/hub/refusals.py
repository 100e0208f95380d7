"""What the Hub refuses while something is published, and the client does not say in an error of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from quantize_lib.errors import PublishError
from quantize_lib.hub.explanations import explain_publishing, quote


@contextmanager
def refused_settings(what: str, hint: str) -> Iterator[None]:
    """Explain that a token may write to a repository, but not change who sees it.

    A traded token is promised to write, and nothing else (https://huggingface.co/docs/hub/trusted-publishers).

    Args:
        what: what follows for the repository.
        hint: what a person can do about it.

    Raises:
        PublishError: for the answer 403.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        if error.response.status_code != 403:
            raise
        answer, more = explain_publishing(error, what.partition(" ")[0])
        raise PublishError(f"{what}: {answer}", hint=f"{hint} {more}") from None


def refused_content(repository: str, error: Exception) -> PublishError:
    """What the client says in a plain ValueError or RuntimeError: the card, or large files, are not taken."""
    import httpx2

    cause = error.__cause__
    if isinstance(cause, OSError | httpx2.HTTPError):
        message, hint = explain_publishing(cause, repository)
        return PublishError(message, hint=hint)
    return PublishError(
        f"{repository}: the Hub does not take the files: {quote(str(error))}",
        hint="What was published before is unchanged. What a card says can be set with publish.card; nothing "
        "is quantized again for it.",
    )
