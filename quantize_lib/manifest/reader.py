"""YAML text to plain data that remembers where everything stood.

The text is foreign: it is read from the parser's events, without recursion and with limits, so that no
nesting and no alias can use up stack, memory or time. Scalars follow YAML 1.2's core schema, because 1.1
turns `on`, `no`, `010`, `1_000` and dates into something else than what was written.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from quantize_lib.manifest.document import Document, Node
from quantize_lib.manifest.problems import InvalidManifestError, Problem
from quantize_lib.wording import show

MAX_DEPTH = 32
MAX_VALUES = 10_000
"""Values of a manifest with every alias written out."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]{0,17})(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")
_ESCAPE_FAULT = "found invalid Unicode character escape code"
"""libyaml's words; to it a surrogate pair, as JSON escapes a character beyond U+FFFF, is two faults."""
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class Reader:
    """Builds the tree from the parser's events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node] = {}
        self.stack: list[tuple[Node, str | None]] = []
        """Open collections, each with the key whose value comes next."""
        self.root: Node | None = None

    def read(self, text: str) -> Document:
        documents = 0
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        raise self.stop(event, "a second document starts here; a manifest is one document")
                self.take(event)
        except yaml.MarkedYAMLError as error:
            raise self.syntax(error, text) from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # Escapes such as "\UFFFFFFFF", which the parser written in Python passes to chr().
            raise self.fail(f"not YAML: {' '.join(str(error).split())}") from None
        if self.root is None or (self.root.children is None and self.root.value is None):
            raise self.fail("empty; a manifest has at least `version: 1` and `models:`")
        if not isinstance(self.root.children, dict):
            what = "a list" if self.root.children is not None else show(self.root.value)
            message = f"expected a mapping with `version:` and `models:` at the top, got {what}"
            raise self.fail(message, *self.root.place)
        return Document(name=self.name, root=self.root, problems=self.problems)

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self.scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self.alias(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            is_map = isinstance(event, yaml.MappingStartEvent)
            if event.tag not in (None, "!", _TAG + ("map" if is_map else "seq")):
                self.note(event, f"the tag {show(event.tag)} is not allowed; a manifest is plain data")
            if len(self.stack) >= MAX_DEPTH:
                raise self.stop(event, f"nested deeper than {MAX_DEPTH} levels")
            node = Node(place=_place(event), children={} if is_map else [], open=True)
            self.register(event, node)
            self.stack.append((node, None))
        elif isinstance(event, yaml.CollectionEndEvent):
            node, _ = self.stack.pop()
            node.open = False
            self.add(event, node)

    def scalar(self, event: yaml.ScalarEvent) -> None:
        value: Any = event.value
        kind = (event.tag or "").removeprefix(_TAG)
        plain = event.implicit[0] and event.tag in (None, "!")
        if plain or kind in ("int", "float", "bool", "null"):
            value = _scalar(event.value)
        elif event.tag not in (None, "!", f"{_TAG}str"):
            self.note(event, f"the tag {show(event.tag)} is not allowed; a manifest is plain data")
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            self.note(event, "half of a character (a lone surrogate) is not text")
            value = ""
        node = Node(place=_place(event), value=value)
        self.register(event, node)
        self.add(event, node)

    def alias(self, event: yaml.AliasEvent) -> None:
        node = self.anchors.get(str(event.anchor))
        if node is None:
            raise self.stop(
                event, f"the alias *{event.anchor} names nothing; there is no &{event.anchor} before it"
            )
        if node.open:
            raise self.stop(
                event, f"the alias *{event.anchor} stands inside what it names, so it would never end"
            )
        self.add(event, node)

    def add(self, event: yaml.Event, node: Node) -> None:
        """Put a finished node into the collection that is open."""
        if not self.stack:
            self.root = node
            return
        parent, key = self.stack[-1]
        if isinstance(parent.children, list):
            parent.children.append(node)
            self.grow(event, parent, node)
        elif isinstance(parent.children, dict) and key is not None:
            parent.children.setdefault(key, node)
            self.grow(event, parent, node)
            self.stack[-1] = (parent, None)
        elif isinstance(parent.children, dict):
            self.stack[-1] = (parent, self.key(event, parent, node))

    def key(self, event: yaml.Event, parent: Node, node: Node) -> str:
        if node.children is not None:
            raise self.fail("a key that is a list or a mapping; keys are words", *node.place)
        key = event.value if isinstance(event, yaml.ScalarEvent) else str(node.value)
        if key in parent.keys:
            line, column = parent.keys[key]
            self.note(event, f"the key {show(key)} is given twice; it stands at {line}:{column} already")
        else:
            parent.keys[key] = _place(event)
        return key

    def grow(self, event: yaml.Event, parent: Node, node: Node) -> None:
        parent.size += node.size
        # The tree holds an aliased node once; whoever walks the plain data meets it every time.
        if parent.size > MAX_VALUES:
            raise self.stop(event, f"more than {MAX_VALUES} values, aliases written out; split the manifest")

    def register(self, event: yaml.NodeEvent, node: Node) -> None:
        if event.anchor is not None:
            self.anchors[event.anchor] = node

    def note(self, event: yaml.Event, message: str) -> None:
        line, column = _place(event)
        self.problems.append(Problem(place=self.name, line=line, column=column, message=message))

    def stop(self, event: yaml.Event, message: str) -> InvalidManifestError:
        return self.fail(message, *_place(event))

    def fail(self, message: str, line: int = 0, column: int = 0) -> InvalidManifestError:
        problem = Problem(place=self.name, line=line, column=column, message=message)
        return InvalidManifestError([*self.problems, problem])

    def syntax(self, error: yaml.MarkedYAMLError, text: str) -> InvalidManifestError:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        lines = text.splitlines()
        written = lines[line - 1] if 0 < line <= len(lines) else ""
        if "\t" in written[: len(written) - len(written.lstrip())]:
            message = "a tab in the indentation; YAML is indented with spaces"
        elif error.problem == _ESCAPE_FAULT:
            message = (
                "an escape that names no character (half of a surrogate pair, or beyond U+10FFFF); write the "
                "character itself"
            )
        else:
            context = f" ({error.context})" if error.context else ""
            message = f"not YAML: {error.problem or 'syntax error'}{context}"
        return self.fail(message, line=line, column=column)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    # Every event of a parsed text has a mark; one that a program made has none.
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


def _scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            # `1e3` samples are a thousand samples; JSON Schema sees no difference either.
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return text
