"""What the Hub itself says of a card, before anything is sent there to stay."""

from __future__ import annotations

import json

from quantize_lib.hub.client import hub_client, request_headers
from quantize_lib.hub.explanations import quote
from quantize_lib.hub.retry import parsed


def card_refusal(card: str, *, token: str | None) -> str | None:
    """What the Hub says against a card's metadata, in a line; None where it takes it, or cannot be asked.

    The client asks the same just before a commit (`HfApi.create_commit`), after the large files were sent.
    Whatever keeps this question from its answer is met again there, and told.

    Args:
        card: with its front matter.
        token: may be None.
    """
    import httpx2
    from huggingface_hub import get_session

    client = hub_client(token)
    try:
        answer = parsed(
            lambda: get_session().post(
                f"{client.endpoint}/api/validate-yaml",
                json={"content": card, "repoType": "model"},
                headers=request_headers(client),
            )
        )
    except (OSError, httpx2.HTTPError):
        return None
    return _told(answer.text) if answer.status_code == 400 else None


def _told(answer: str) -> str | None:
    """The messages of the Hub's answer in one line; None for an answer that is not the Hub's own."""
    try:
        return quote("; ".join(str(error["message"]) for error in json.loads(answer)["errors"])) or None
    except (ValueError, KeyError, TypeError):
        return None
