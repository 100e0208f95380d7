"""A request, a response, and the errors in the form in which the Hub's client reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit


@dataclass(eq=False, kw_only=True, repr=False)
class Request:
    """One request, as it stands in the log.

    Attributes:
        site: the Hub itself, or the storage that its signed addresses lead to.
        route: name of the function that answered, as in `create_commit`.
        status: of the answer; None where the connection was dropped instead.
        sent: bytes of the answer's body that left the server.
        fault: the kind of fault that was injected.
        over: whether it was answered, or its connection dropped.
    """

    number: int
    site: Literal["hub", "storage"]
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    route: str = ""
    status: int | None = None
    sent: int = 0
    fault: str | None = None
    over: bool = False

    @property
    def path(self) -> str:
        """Still quoted."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def json(self) -> Any:
        """The body.

        Raises:
            HubError: where it is no JSON.
        """
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            raise HubError(400, "Invalid JSON body") from None

    def flag(self, name: str) -> bool:
        """Whether a parameter is set."""
        return self.query.get(name, ["false"])[0].lower() in ("1", "true")

    def __repr__(self) -> str:
        return f"{self.number} {self.method} {self.target} -> {self.fault or ''}{self.status or ''}"


@dataclass(kw_only=True)
class Response:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def answer(value: object, status: int = 200, **headers: str) -> Response:
    """JSON."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(
        status=status,
        body=json.dumps(value, default=str).encode(),
        headers={"Content-Type": "application/json; charset=utf-8", **named},
    )


class HubError(Exception):
    """An answer that is an error; `huggingface_hub.utils._http.hf_raise_for_status` reads its headers.

    Args:
        status: of HTTP.
        message: X-Error-Message, and `error` in the body.
        code: X-Error-Code.
        more: further keys of the body.
    """

    def __init__(self, status: int, message: str, code: str | None = None, **more: object) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.more = status, message, code, more

    def response(self) -> Response:
        """The answer."""
        told = answer({"error": self.message, **self.more}, self.status)
        told.headers["X-Error-Message"] = self.message
        if self.code:
            told.headers["X-Error-Code"] = self.code
        return told


class MovedError(Exception):
    """The repository has another name now."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target

    def response(self) -> Response:
        """A redirect that keeps the method."""
        return Response(
            status=307,
            body=f"Temporary Redirect. Redirecting to {self.target}".encode(),
            headers={"Location": self.target},
        )
