"""The Hub that tests talk to: what it holds, what it was asked, and what goes wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.support.hub.faults import Fault, FaultKind
from tests.support.hub.store import (
    ATTRIBUTES,
    LARGEST_REGULAR,
    Blob,
    Collection,
    Kind,
    Repository,
    Role,
    Token,
    is_lfs,
)
from tests.support.hub.web import HubError, MovedError, Request


@dataclass(kw_only=True, repr=False)
class Hub:
    """A Hub; `tests.support.hub.serve` puts it on the loopback address.

    Attributes:
        repositories: `models/owner/name` or `datasets/owner/name` → repository.
        moved: the old key of a renamed repository → the new one.
        tokens: by value.
        organizations: name → user → whether they may write.
        claimed: file name → the size that lists give for it, where it is not the true one.
        ranges: whether range requests are honoured.
        lfs_from: larger files are to be in LFS, whatever they are.
        parts_from: larger LFS objects are uploaded in parts of `part_size`.
        page_size: entries on a page of a long list.
        jobs: what was started, by id, as it is told of; one whose command holds `failing_jobs` fails.
        buckets: name → the paths in it.
        claims: what the id token of a workflow's job says (see `job`).
        requests: the log, in the order of arrival.
        problems: faults of this server itself; leaving `serve` raises them.
        endpoint: the address for HF_ENDPOINT.
        storage: the address of the signed up- and downloads, another origin as for the real one.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    organizations: dict[str, dict[str, bool]] = field(default_factory=dict)
    collections: dict[str, Collection] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    lfs_from: int = LARGEST_REGULAR
    parts_from: int = 64 * 1024 * 1024
    part_size: int = 32 * 1024 * 1024
    page_size: int = 1000
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing_jobs: str = ""
    buckets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    problems: list[Exception] = field(default_factory=list)
    endpoint: str = ""
    storage: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add_model(
        self,
        name: str,
        files: Mapping[str, bytes] | None = None,
        *,
        private: bool = False,
        gated: Literal["auto", "manual", False] = False,
    ) -> Repository:
        """A model with these files in its first commit; without any, as create_repo leaves it."""
        return self.add("models", name, files, private=private, gated=gated)

    def add_dataset(
        self, name: str, files: Mapping[str, bytes] | None = None, *, private: bool = False
    ) -> Repository:
        """A data set with these files in its first commit."""
        return self.add("datasets", name, files, private=private)

    def add(
        self,
        kind: Kind,
        name: str,
        files: Mapping[str, bytes] | None = None,
        *,
        private: bool = False,
        gated: Literal["auto", "manual", False] = False,
        request: int = 0,
    ) -> Repository:
        """A repository with a first commit."""
        repository = Repository(kind=kind, name=name, private=private, gated=gated)
        content = {".gitattributes": ATTRIBUTES} if files is None else files
        blobs = {path: Blob(data, is_lfs(path, data, ATTRIBUTES)) for path, data in content.items()}
        repository.add_commit(blobs, parent=None, title="initial commit", request=request)
        self.repositories[repository.key] = repository
        self.moved.pop(repository.key, None)
        return repository

    def model(self, name: str) -> Repository:
        """A model's repository.

        Raises:
            KeyError: where there is none.
        """
        return self.repositories[f"models/{name}"]

    def rename(self, repository: Repository, name: str) -> None:
        """Give a repository another name; the old one leads there."""
        del self.repositories[repository.key]
        old, repository.name = repository.key, name
        self.repositories[repository.key] = repository
        self.moved = {key: repository.key if new == old else new for key, new in self.moved.items()}
        self.moved[old] = repository.key

    def add_token(self, value: str, user: str, role: Role = "write") -> str:
        """A token of a user; the user owns the namespace of that name."""
        self.tokens[value] = Token(value=value, user=user, role=role)
        return value

    def add_organization(
        self, name: str, *, writers: tuple[str, ...] = (), readers: tuple[str, ...] = ()
    ) -> None:
        """A namespace of several users."""
        self.organizations[name] = dict.fromkeys(readers, False) | dict.fromkeys(writers, True)

    def job(self, **claims: str) -> dict[str, str]:
        """Environment of a GitHub Actions job that may ask for an id token with these claims.

        The variables' names: huggingface_hub/_oidc.py.
        """
        self.claims = claims
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.endpoint}/github/id-token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.job_secret,
        }

    @property
    def job_secret(self) -> str:
        """What a job shows to get its id token."""
        return "runner-" + self.sign("job")

    def environment(self, home: Path) -> dict[str, str]:
        """For a process of its own: the Hub's client reads its address when it is imported."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def fail(
        self,
        kind: FaultKind,
        *,
        route: str | None = None,
        when: Callable[[Request], bool] = lambda _: True,
        skip: int = 0,
        times: int | None = 1,
        status: int = 503,
        retry_after: str | None = None,
        seconds: float = 0.5,
        quotes: bool = False,
    ) -> Fault:
        """Inject a fault; see Fault."""
        fault = Fault(
            kind=kind,
            route=route,
            when=when,
            skip=skip,
            times=times,
            status=status,
            retry_after=retry_after,
            seconds=seconds,
            quotes=quotes,
        )
        self.faults.append(fault)
        return fault

    def asked(self, route: str) -> list[Request]:
        """The requests that one function answered, as in `create_commit`."""
        return [request for request in self.requests if request.route == route]

    def sent(self, name: str) -> int:
        """Bytes of a file's content that left the server."""
        return sum(
            request.sent for request in self.requests if request.method == "GET" and name in request.target
        )

    # What the routes share.

    def sign(self, text: str) -> str:
        """A signature that only this server can give."""
        key = hashlib.sha256(str(id(self)).encode()).digest()
        return hmac.new(key, text.encode(), "sha256").hexdigest()[:32]

    def id_token(self, audience: str) -> str:
        """A job's id token, in the form of a JWT."""
        claims = {"iss": "https://token.actions.githubusercontent.com", "aud": audience, **self.claims}
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        ]
        text = ".".join(parts)
        return f"{text}.{self.sign(text)}"

    def read_id_token(self, token: str) -> dict[str, Any]:
        """The claims; none where the signature is wrong."""
        text, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature, self.sign(text)):
            return {}
        claims = text.partition(".")[2]
        data: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return data

    def caller(self, request: Request) -> Token | None:
        """Who asks; None for a request without a token.

        Raises:
            HubError: the token is none of ours.
        """
        given = request.headers.get("authorization")
        if given is None:
            return None
        scheme, _, value = given.partition(" ")
        token = self.tokens.get(value)
        if scheme.lower() != "bearer" or token is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return token

    def member(self, token: Token | None, namespace: str, *, writes: bool) -> bool:
        """Whether a user belongs to a namespace."""
        if token is None:
            return False
        if token.user == namespace:
            return True
        users = self.organizations.get(namespace, {})
        return token.user in users and (users[token.user] or not writes)

    def sees(self, repository: Repository, token: Token | None) -> bool:
        """Whether it exists for them at all."""
        if token is not None and token.only is not None:
            return not repository.private or token.only == repository.key
        return not repository.private or self.member(token, repository.owner, writes=False)

    def get(self, request: Request, kind: str, name: str) -> Repository:
        """The repository of a route.

        Raises:
            MovedError: it has another name now.
            HubError: it is not there, or not for them: the Hub says the same in both cases.
        """
        token = self.caller(request)
        key = f"{kind}/{name}"
        if key not in self.repositories and key in self.moved:
            new = self.moved[key].partition("/")[2]
            raise MovedError(request.target.replace(f"/{name}", f"/{new}", 1))
        repository = self.repositories.get(key)
        if repository is not None and self.sees(repository, token):
            return repository
        if token is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")

    def check_files(self, repository: Repository, token: Token | None) -> None:
        """Refuse the files of a gated repository.

        Raises:
            HubError: as the Hub's docs (hub/models-gated) and the client's GatedRepoError have it.
        """
        if not repository.gated or (token is not None and token.only == repository.key):
            return
        said = f"Access to {repository.kind[:-1]} {repository.name} is restricted"
        if token is None:
            raise HubError(401, f"{said}. You must have access to it and be authenticated.", "GatedRepo")
        if token.user not in repository.approved and not self.member(token, repository.owner, writes=False):
            raise HubError(403, f"{said} and you are not in the authorized list.", "GatedRepo")

    def check_write(self, repository: Repository, token: Token | None, *, proposal: bool = False) -> Token:
        """Refuse who may not write.

        Args:
            repository: where to.
            token: whose.
            proposal: whether it is only a pull request, which every user may open.

        Returns:
            The token.

        Raises:
            HubError: without a token, with a read token, or in somebody else's namespace.
        """
        if token is None:
            raise HubError(401, "Invalid username or password.")
        if token.role != "write":
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        if token.only is not None:
            if token.only != repository.key:
                raise HubError(403, "Forbidden: this token is for another repository.")
        elif not proposal and not self.member(token, repository.owner, writes=True):
            raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return token
