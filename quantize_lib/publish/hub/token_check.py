"""Whether a token may publish, found out before hours are spent on what could not be sent."""

from __future__ import annotations

from typing import Any

from quantize_lib.errors import UsageError
from quantize_lib.hub.client import hub_client
from quantize_lib.hub.explanations import explain_publishing
from quantize_lib.hub.retry import Retry


def check_access(repository: str, token: str, retry: Retry) -> None:
    """Ask the Hub about one repository, which may not exist yet.

    What it cannot say at the moment, publishing will tell.

    Raises:
        UsageError: where the token is certain to be refused.
    """
    import httpx2
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    api = hub_client(token)
    try:
        try:
            retry.call(lambda: api.auth_check(repository, write=True))
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            # It is to be created. A fine-grained token does not say for where it is good.
            if _role(retry.call(api.whoami)) == "read":
                raise UsageError(
                    f"{repository}: publishing needs a token with write access; this one may only read",
                    hint="Make one with the role `write`, or a fine-grained one for its namespace.",
                ) from None
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            message, hint = explain_publishing(error, repository)
            raise UsageError(message, hint=hint) from None
    except (OSError, httpx2.HTTPError):
        # The connection's trouble of this moment; what is computed can be published later.
        return


def _role(answer: dict[str, Any]) -> object:
    """The token's role as https://huggingface.co/api/whoami-v2 gives it; None for other kinds of login."""
    auth = answer.get("auth")
    access = auth.get("accessToken") if isinstance(auth, dict) else None
    return access.get("role") if isinstance(access, dict) else None
