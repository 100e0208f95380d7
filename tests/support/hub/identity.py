"""Who somebody is, and the exchange of a job's id token; and the check of a card."""

from __future__ import annotations

from tests.support.hub.cards import front_matter
from tests.support.hub.state import Hub
from tests.support.hub.store import Token
from tests.support.hub.web import HubError, Request, Response, answer

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


def whoami(hub: Hub, request: Request) -> Response:
    token = hub.caller(request)
    if token is None or token.job:
        raise HubError(401, "Invalid username or password.")
    organizations = [
        {"type": "org", "name": name, "roleInOrg": "write" if users[token.user] else "read"}
        for name, users in hub.organizations.items()
        if token.user in users
    ]
    access = {"type": "access_token", "accessToken": {"displayName": "test", "role": token.role}}
    return answer(
        {"type": "user", "name": token.user, "fullname": token.user, "orgs": organizations, "auth": access}
    )


def exchange_token(hub: Hub, request: Request) -> Response:
    """A job's id token against a token for one repository, which lives an hour.

    The docs (hub/trusted-publishers) give the fields, the two errors, and that their texts do not tell which
    check failed.
    """
    given = request.json()
    if given.get("grant_type") != _GRANT or given.get("subject_token_type") != _ID_TOKEN:
        raise HubError(400, "invalid_request", error_description="unknown grant or token type")
    if not given.get("subject_token") or not given.get("resource"):
        raise HubError(400, "invalid_request", error_description="subject_token and resource are needed")
    resource = str(given["resource"])
    key = resource if resource.startswith("datasets/") else f"models/{resource}"
    claims, repository = hub.read_id_token(given["subject_token"]), hub.repositories.get(key)
    if (
        repository is None
        or claims.get("aud") != hub.endpoint
        or not any(
            all(claims.get(name) == value for name, value in publisher.items())
            for publisher in repository.publishers
        )
    ):
        raise HubError(400, "invalid_grant", error_description="the token or the resource is not accepted")
    value = f"hf_jwt_{hub.sign(f'{key}{len(hub.tokens)}')}"
    hub.tokens[value] = Token(value=value, user="[OIDC]", role="write", only=key, job=True)
    return answer(
        {
            "access_token": value,
            "token_type": "bearer",
            "expires_in": 3600,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }
    )


def id_token(hub: Hub, request: Request) -> Response:
    """GitHub's part: gives a job its id token."""
    if request.headers.get("authorization") != f"Bearer {hub.job_secret}" or not hub.claims:
        raise HubError(401, "unauthorized")
    return answer({"value": hub.id_token(request.query["audience"][0])})


def agent_harnesses(_hub: Hub, _request: Request) -> Response:
    """What the client asks once a day for its user agent; none is known here."""
    return answer({"standardEnvVars": [], "harnesses": {}})


def validate_yaml(hub: Hub, request: Request) -> Response:
    hub.caller(request)
    content = request.json()["content"]
    metadata, problems = front_matter(content.encode())
    warnings = [] if metadata or problems else [{"message": "empty or missing yaml metadata in repo card"}]
    told = {"errors": [{"message": text} for text in problems], "warnings": warnings}
    return answer(told, 400 if problems else 200)
