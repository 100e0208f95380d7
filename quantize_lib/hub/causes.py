"""What can go wrong at the Hub, each cause once, in words for who reads and for who publishes.

`hub.explanations` finds an error's causes and fills in the words: `{shown}` (a model or a data set),
`{repository}`, `{namespace}`, `{revision}`, `{page}`, `{status}` and `{answer}` of the Hub, `{wait}` in
seconds, `{file}` and `{reason}` of the system, `{line}` and `{quote}` of the error's own text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quantize_lib.hub.credentials import READ, WRITE

Words = tuple[str, str]
"""A message, and a hint."""


@dataclass(frozen=True)
class Cause:
    """What happened, in words for each side; None where a more general cause has them."""

    reading: Words | None = None
    publishing: Words | None = None


_AGAIN = "Run it again later: what was uploaded already is not sent twice."
_READ_TOKEN = f"{READ} or HF_TOKEN"
_WRITE_TOKEN = f"{WRITE} (or HF_TOKEN)"
_ANSWERED = "{shown} cannot be read: the Hub answered {status}"
_REFUSED = "{repository}: the Hub answered {answer}"
_MISSING = "{shown} does not exist on the Hub, or is private"

CAUSES: Mapping[str, Cause] = {
    "gated": Cause(
        (
            "{shown} is gated and this account has no access to it",
            f"Accept its terms at {{page}}, then pass that account's token in {_READ_TOKEN}.",
        ),
        (
            "{repository} is gated and this token's account has no access to it",
            "Use the token of an account of its namespace.",
        ),
    ),
    "disabled": Cause(
        ("{shown} was disabled on the Hub", "Choose another one."),
        ("{repository} was disabled on the Hub", "Ask the Hub's support, or choose another name."),
    ),
    # The Hub does not say which of the two it is; but its answer to a request without a token is 401.
    "missing, without a token": Cause(
        (_MISSING, f"Check the spelling; a private one needs a token with read access in {_READ_TOKEN}."),
    ),
    "missing": Cause(
        (
            _MISSING,
            f"Check the spelling; the account of the token in {_READ_TOKEN} has no access to a private one "
            "of that name.",
        ),
        (
            "{repository} does not exist on the Hub, or this token cannot see it",
            f"Check publish.namespace and publish.name, and that {_WRITE_TOKEN} is of an account that may "
            "write there.",
        ),
    ),
    "no revision": Cause(
        ("{shown} has no revision {revision!r}", "Name a branch, a tag or a commit that exists."),
    ),
    "name": Cause(
        (
            "{repository!r} is no Hub id",
            "An id is NAME or OWNER/NAME of letters, digits, - _ and . alone.",
        ),
        ("{repository!r} is no name for the Hub", "Use `namespace/name`."),
    ),
    "offline": Cause(
        ("{shown} cannot be looked up: HF_HUB_OFFLINE is set", "Unset it."),
        ("{repository} cannot be published: HF_HUB_OFFLINE is set", "Unset it."),
    ),
    # Its addresses are signed; no token is shown there.
    "storage": Cause(
        publishing=(
            _REFUSED,
            "That was not the Hub but the storage that it names for large files: the address had expired, or "
            f"something between refuses it (a proxy, a firewall). {_AGAIN}",
        ),
    ),
    "reading token": Cause(
        publishing=(
            _REFUSED,
            f"The token in {READ} (or HF_TOKEN) is wrong, expired, or may not read that.",
        ),
    ),
    "traded token": Cause(
        publishing=(
            _REFUSED,
            "This workflow's identity was traded for a token that writes to that repository and may do "
            f"nothing else: the rest needs {_WRITE_TOKEN}, or a person.",
        ),
    ),
    "401": Cause(
        (_ANSWERED, f"The token in {_READ_TOKEN} is not valid (any more)."),
        (
            _REFUSED,
            f"The token in {_WRITE_TOKEN} is wrong, expired or revoked: make a new one with write access "
            "under Settings, Access Tokens.",
        ),
    ),
    "402": Cause(publishing=(_REFUSED, "{namespace} has no room or no plan for it; see its billing page.")),
    "403": Cause(
        (_ANSWERED, f"The token in {_READ_TOKEN} may lack read access."),
        (
            _REFUSED,
            f"The token in {_WRITE_TOKEN} may not do that: it needs the role `write`, or as a fine-grained "
            "token write access to the repositories of {namespace}, and its account must be allowed to write "
            "there.",
        ),
    ),
    "404": Cause(publishing=(_REFUSED, "It was removed or renamed meanwhile; run it again.")),
    "conflict": Cause(
        publishing=(
            _REFUSED,
            "Somebody else changes the repository at the same time; run it again when they are done.",
        ),
    ),
    "413": Cause(publishing=(_REFUSED, "A file is larger than the Hub takes.")),
    "429, with a time": Cause(publishing=(_REFUSED, f"It asks to wait {{wait:.0f}} seconds. {_AGAIN}")),
    "429": Cause(publishing=(_REFUSED, f"It asks for patience. {_AGAIN}")),
    "5xx": Cause(publishing=(_REFUSED, f"The trouble is the Hub's. {_AGAIN}")),
    "status": Cause(
        (_ANSWERED, "Try again later; files that have arrived are kept."),
        (_REFUSED, "What was published before is unchanged."),
    ),
    "bad answer": Cause(
        publishing=(
            "{repository}: what answered was not the Hub, or its answer was cut short",
            f"Check HF_ENDPOINT and the proxy. {_AGAIN}",
        ),
    ),
    "disk full": Cause(
        ("the disk is full while fetching {shown}", "Free some space, or set HF_HOME to a larger disk."),
    ),
    "not writable": Cause(
        ("{file} cannot be written: {reason}", "Set HF_HOME to a folder of your own."),
    ),
    # A file of the checkpoint: the client has errors of its own for the Hub.
    "file": Cause(
        publishing=("{file} cannot be read: {reason}", "Check the output folder's disk."),
    ),
    "connection": Cause(
        ("{shown} cannot be fetched: {line}", "Check the network connection."),
        ("{repository}: the Hub cannot be reached: {quote}", f"Check the connection. {_AGAIN}"),
    ),
}
"""By cause."""
