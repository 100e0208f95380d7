"""Names of tensors on disk as transformers takes them in memory, by the rules of its own conversion."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple


class Renaming(NamedTuple):
    """One rule.

    Attributes:
        kind: `rename`, of which every one that matches is applied in turn, or `convert`, of which the first
            alone is: it makes other tensors of those that it matches.
        pattern: a regular expression of several branches `g0`, `g1`, …
        becomes: what takes the place of the match; `\\1` is the first group inside the branch.
        scope: the module inside the base model under which alone it holds; None for everywhere.
        shift: what is added to the number that `\\1` stands for.
    """

    kind: str
    pattern: str
    becomes: str
    scope: str | None
    shift: int


def in_memory(name: str, rules: Iterable[Renaming], base: str) -> tuple[str, bool]:
    """A tensor's name in memory.

    Args:
        name: on disk.
        rules: those of its class.
        base: the base model's prefix.

    Returns:
        The name, and whether the tensor is converted into others.
    """
    for rule in rules:
        if rule.kind == "rename":
            name = _apply(name, rule, base) or name
    for rule in rules:
        if rule.kind == "convert" and (found := _apply(name, rule, base)) is not None:
            return found, True
    return name, False


def _apply(name: str, rule: Renaming, base: str) -> str | None:
    """The name that a rule makes of one; None where it does not match."""
    start = ""
    if rule.scope is not None:
        scope, prefix = (f"{part}." if part else "" for part in (rule.scope, base))
        start = next((one for one in (prefix + scope, scope) if name.startswith(one)), "-")
        if start == "-":
            return None
    rest = name.removeprefix(start)
    match = _compiled(rule.pattern).search(rest)
    if match is None:
        return None
    becomes = rule.becomes
    if r"\1" in becomes:
        branch = next(group for group, value in match.groupdict().items() if value is not None)
        said = match.group(match.re.groupindex[branch] + 1)
        becomes = becomes.replace(r"\1", str(int(said) + rule.shift) if rule.shift else said)
    return start + rest.replace(match.group(0), becomes, 1)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
