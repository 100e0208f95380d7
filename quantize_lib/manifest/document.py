"""A manifest's values with their places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.problems import Problem, show_path


@dataclass(kw_only=True)
class Node:
    """A value with its place; an alias is the very node that it names.

    Attributes:
        place: line and column, counted from 1.
        value: a scalar's value; for a mapping or list use `children`.
        children: of a mapping by key, of a list in order; None for a scalar.
        keys: of a mapping: where each key stands.
        size: how many values, children included and aliases written out.
        open: still being read, so that an alias to it would never end.
    """

    place: tuple[int, int]
    value: Any = None
    children: dict[str, Node] | list[Node] | None = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1
    open: bool = False

    def plain(self) -> Any:
        """Plain data: dict, list, str, int, float, bool, None."""
        if isinstance(self.children, dict):
            return {key: child.plain() for key, child in self.children.items()}
        if isinstance(self.children, list):
            return [child.plain() for child in self.children]
        return self.value


@dataclass(kw_only=True)
class Document:
    """A manifest as written.

    Attributes:
        name: the file as the user named it, for messages.
        problems: what was wrong with the YAML but did not stop its reading (keys given twice, tags).
    """

    name: str
    root: Node
    problems: list[Problem]

    def problem(self, path: KeyPath, message: str, *, key: bool = False) -> Problem:
        """A problem at the value of `path` (or the nearest one above it), or at its key."""
        node, place = self.root, self.root.place
        for part in path:
            children = node.children
            if isinstance(children, dict) and part in children:
                at_key = node.keys[str(part)]
                node = children[str(part)]
                place = at_key if key else node.place
            elif isinstance(children, list) and isinstance(part, int) and part < len(children):
                node = children[part]
                place = node.place
            else:
                break
        where = show_path(path)
        text = f"{where}: {message}" if where else message
        return Problem(place=self.name, line=place[0], column=place[1], message=text)
