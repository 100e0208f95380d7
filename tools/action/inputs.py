"""The action's inputs, checked before anything is done with them. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

COMMANDS = ("run", "plan", "calibrate", "validate")
EXECUTORS = ("docker", "local")
DEVICES = ("auto", "cpu", "cuda")
DEFAULTS: Mapping[str, str] = {
    "manifest": "quantize.yml",
    "command": "run",
    "only": "",
    "executor": "docker",
    "device": "auto",
    "image": "",
    "publish": "true",
    "changed-only": "false",
    "output": "output",
    "hf-token-read": "",
    "hf-token-write": "",
    "hf-token-state": "",
    "cache": "true",
    "artifacts": "false",
    "shards": "0",
    "shard": "",
    "statistics": "",
    "attest": "false",
}
"""As in action.yml, which GitHub uses for an input that is not written. One that is written and empty, as
`${{ inputs.publish }}` is on a schedule, comes as it is."""

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_CELL = re.compile(r"[A-Za-z0-9._-]+")
# A reference as Docker takes it: registry and port, a path in lower case, tag, digest.
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?[a-z0-9][a-z0-9._/-]*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?:@[A-Za-z0-9][A-Za-z0-9+._-]*:[0-9A-Fa-f]+)?"
)
_SHARDS = re.compile(r"[0-9]{1,4}")
_SHARD = re.compile(r"[1-9][0-9]{0,3}/[1-9][0-9]{0,3}")
_TOKEN = re.compile(r"[!-~]+")
_IDENTITY = "ACTIONS_ID_TOKEN_REQUEST_URL"
"""GitHub sets it in jobs with `id-token: write`."""
# These are patterns where the cache and artifact steps read a path.
_PATTERN = frozenset("*?[]!{}")


class InputError(Exception):
    """An input is not what it may be; the text says which and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the caller asked for.

    Attributes:
        only: cell ids; all where empty.
        image: the container image; empty for the one that belongs to this version.
        publish: false for a pull request of a fork, whatever was asked for.
        can_write: whether there is a token to publish with, or the job may prove who it is instead
            (`id-token: write`).
        shards: over how many jobs a plan splits each calibration text; 0 for not at all.
        shard: which of how many parts of it `calibrate` works on, as in `2/3`; empty for another command.
        statistics: folder with what `calibrate` made of every part; empty where `run` calibrates.
        attest: whether the checkpoints are signed; never in a pull request of a fork.
        trusted: whether the event may use tokens at all: false for a pull request of a fork.
        defaulted: inputs that were written and empty, where the default is not.
    """

    manifest: str
    command: str
    only: tuple[str, ...]
    executor: str
    device: str
    image: str
    publish: bool
    changed_only: bool
    output: str
    cache: bool
    artifacts: bool
    shards: int
    shard: str
    statistics: str
    attest: bool
    can_write: bool
    trusted: bool
    defaulted: tuple[str, ...]

    @property
    def key(self) -> str:
        """Names what this call works on: the same for a later attempt, another for another cell."""
        shard = [self.shard] if self.shard else []
        words = json.dumps(
            [self.manifest, self.executor, self.device, sorted(self.only), self.output, *shard]
        )
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    @property
    def computes(self) -> bool:
        """Whether a model is to be loaded."""
        return self.command in ("run", "calibrate")

    @property
    def state(self) -> str:
        """The folder with what a later attempt goes on from."""
        name = f".{self.shard.replace('/', '-of-')}" if self.command == "calibrate" else ".state"
        return f"{self.output}/{name}"

    @property
    def two_steps(self) -> bool:
        """Whether publishing is a step of its own: it alone may write, and signing comes before it."""
        return self.command == "run" and self.publish and (self.can_write or self.attest)

    @property
    def profile(self) -> str:
        """Which lock files are installed."""
        if not self.computes or self.executor == "docker":
            return "core"
        return "cuda" if self.device == "cuda" else "cpu"

    def save(self, folder: Path) -> None:
        """Leave them for the action's later steps."""
        (folder / "inputs.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` left."""
        words = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
        lists = {name: tuple(words[name]) for name in ("only", "defaulted")}
        return cls(**{**words, **lists})


def read_inputs(environ: Mapping[str, str], event: Mapping[str, Any]) -> Inputs:
    """Read and check INPUT_*.

    Args:
        environ: the step's environment.
        event: the webhook payload of the workflow run.

    Raises:
        InputError: naming every input that is wrong.
    """
    problems: list[str] = []
    # White space at the ends comes from block scalars, secrets and templates, and means nothing.
    given = {name: environ[_variable(name)].strip() for name in DEFAULTS}
    values = {name: value or DEFAULTS[name] for name, value in given.items()}

    def choice(name: str, allowed: tuple[str, ...]) -> str:
        value = values[name].lower()
        if value not in allowed:
            problems.append(f"{name}: {values[name]!r} is not one of {', '.join(allowed)}")
        return value

    def switch(name: str) -> bool:
        value = values[name].lower()
        if value not in _TRUE + _FALSE:
            problems.append(
                f"{name}: {values[name]!r} is neither true nor false (nor yes, no, on, off, 1, 0)"
            )
        return value in _TRUE

    def text(name: str, pattern: re.Pattern[str], what: str) -> str:
        value = values[name]
        if value and not pattern.fullmatch(value):
            problems.append(f"{name}: {value!r} is not {what}")
        return value

    def path(name: str) -> str:
        value = values[name]
        if not value.isprintable() or (name == "output" and _PATTERN & set(value)):
            problems.append(f"{name}: {value!r} is not a plain path")
        # Never an option, whatever it begins with.
        return value if Path(value).is_absolute() else f"./{os.path.normpath(value)}"

    def count(name: str) -> int:
        value = text(name, _SHARDS, "a number of parts")
        found = int(value) if _SHARDS.fullmatch(value) else 0
        only_with(name, "plan", value if found else "")
        return found

    def only_with(name: str, command: str, value: str) -> str:
        if value and values["command"].lower() != command:
            problems.append(f"{name}: belongs to `command: {command}`")
        return value

    only = tuple(dict.fromkeys(values["only"].replace(",", " ").split()))
    problems += [f"only: {cell!r} is not a cell's id" for cell in only if not _CELL.fullmatch(cell)]
    for name in ("hf-token-read", "hf-token-write", "hf-token-state"):
        if values[name] and not _TOKEN.fullmatch(values[name]):
            # The value itself stays out of the log.
            problems.append(f"{name}: holds white space or characters that no token has")
    booleans = {name: switch(name) for name in ("publish", "changed-only", "cache", "artifacts", "attest")}
    trusted = not from_fork(event, environ.get("GITHUB_REPOSITORY", ""))
    attest = booleans["attest"] and trusted
    if attest and values["command"].lower() == "run" and not environ.get(_IDENTITY):
        problems.append("attest: the job needs the permissions `id-token: write` and `attestations: write`")
    if values["command"].lower() == "calibrate" and not values["shard"]:
        problems.append("command: `calibrate` needs a part in `shard`, as in 2/3")
    inputs = Inputs(
        manifest=path("manifest"),
        command=choice("command", COMMANDS),
        only=only,
        executor=choice("executor", EXECUTORS),
        device=choice("device", DEVICES),
        image=text("image", _IMAGE, "a container image, whose name is in lower case: ghcr.io/acme/name:tag"),
        publish=booleans["publish"] and trusted,
        changed_only=booleans["changed-only"],
        output=path("output"),
        cache=booleans["cache"],
        artifacts=booleans["artifacts"],
        shards=count("shards"),
        shard=only_with("shard", "calibrate", text("shard", _SHARD, "a part, as in 2/3")),
        statistics=only_with("statistics", "run", path("statistics") if values["statistics"] else ""),
        attest=attest,
        can_write=bool(values["hf-token-write"] or environ.get(_IDENTITY)),
        trusted=trusted,
        defaulted=tuple(name for name, value in given.items() if not value and DEFAULTS[name]),
    )
    if problems:
        raise InputError("\n".join(problems))
    return inputs


def from_fork(event: Mapping[str, Any], repository: str) -> bool:
    """Whether the workflow run works on somebody else's commit: a pull request from another repository.

    A fork that was deleted has no repository; that is no proof of being ours.
    """
    if (pull := event.get("pull_request")) is not None:
        return bool(((pull.get("head") or {}).get("repo") or {}).get("full_name") != repository)
    if (run := event.get("workflow_run")) is not None:
        return bool((run.get("head_repository") or {}).get("full_name") != repository)
    return False


def _variable(name: str) -> str:
    return "INPUT_" + name.upper().replace("-", "_")
