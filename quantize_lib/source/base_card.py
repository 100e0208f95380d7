"""What a base model's card says: the YAML between the first two `---` lines of README.md.

The card is foreign and written by hand. Its YAML is looked at as written, not as YAML 1.1 types it (`no` is
Norwegian, `1.0` a name): a value that makes no sense is left out alone, with a note, and of a card that is no
YAML at all the keys that can be read are kept.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from quantize_lib.source import card_rules
from quantize_lib.text import plain
from quantize_lib.wording import joined, show

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 1_000_000
"""Of a card; metadata that does not end within them is not read."""
NOTE = "its card"
"""Every note on a base model's card begins so."""

KEY = re.compile(r"([A-Za-z][\w-]*)[ \t]*:(?=\s|$)")
"""A key at the top level of a card's metadata."""

_GATED = "extra_gated_"
_TYPED = ("license", "license_link", "pipeline_tag")
"""Keys for which a number, a date or a switch makes no sense; `no` is a language."""
_MAX_ITEMS = 1000
_MAX_SHOWN = 5
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, kw_only=True)
class BaseCard:
    """A base model's card.

    Attributes:
        fields: what a checkpoint's card takes from it (`card_rules.KEYS`), in the Hub's words: texts, and
            lists of texts.
        restricted: whether it names conditions under which the model is handed out (`extra_gated_…`), or may
            do so where it cannot be read.
        notes: what was left out of it, a sentence each without a full stop.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    restricted: bool = False
    notes: tuple[str, ...] = ()


def parse_card(data: bytes) -> BaseCard:
    """A card from the first `MAX_BYTES` of its file."""
    found = _front_matter(_decoded(data))
    if found is None:
        return BaseCard()
    lines, ends = found
    reading = _Reading()
    if ends:
        reading.read(lines)
    else:
        reading.unreadable("has no second `---` line", lines)
    return BaseCard(fields=reading.fields(), restricted=reading.restricted, notes=tuple(reading.notes))


def _decoded(data: bytes) -> str:
    """Text; Windows' editors and shells write UTF-16 too. What is no text in it is shown as U+FFFD."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return data.decode(encoding, errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _front_matter(text: str) -> tuple[list[str], bool] | None:
    """Its lines, and whether it ends; None where a card has none.

    A `---` without a second one is a line across the page where no key follows it.
    """
    lines = text.lstrip().split("\n")
    if lines[0].rstrip() != "---":
        return None
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    if end is not None:
        return lines[1:end], True
    first = next((line for line in lines[1:] if line.strip()), "")
    return (lines[1:], False) if KEY.match(first) else None


class _Reading:
    """Reads metadata, and collects what is to be said of it."""

    def __init__(self) -> None:
        self.nodes: dict[str, yaml.Node] = {}
        self.restricted = False
        self.notes: list[str] = []

    def read(self, lines: list[str]) -> None:
        import yaml

        try:
            self.take(_composed(lines))
            return
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            first = error
        try:
            # YAML forbids tabs before a key or an item; an editor's tab is meant as some spaces.
            self.take(_composed([line.expandtabs(4) for line in lines]))
            self.notes.append(
                f"{NOTE}'s metadata has tabs, which YAML does not allow; they are read as spaces"
            )
        except (yaml.YAMLError, ValueError, RecursionError):
            mark = getattr(first, "problem_mark", None)
            # The first line of the file is the `---`.
            place = f" at line {mark.line + 2}" if mark is not None else ""
            self.unreadable(f"is not YAML{place}", lines)

    def unreadable(self, what: str, lines: list[str]) -> None:
        """Keep what stands in a part of its own that can be read."""
        import yaml

        self.restricted = True
        for block in _blocks(lines):
            # What makes no sense may stand below a value that does.
            for part in (block, block[:1]):
                try:
                    self.take(_composed(part))
                    break
                except (yaml.YAMLError, ValueError, RecursionError):
                    continue
        kept = [f"`{key}`" for key in card_rules.KEYS if key in self.nodes]
        taken = f"only {joined(kept)} {'is' if len(kept) == 1 else 'are'} taken from it" if kept else (
            "nothing is taken from it"
        )  # fmt: skip
        self.notes.append(f"{NOTE}'s metadata {what}; {taken}, and whom the model is given to is not known")

    def take(self, root: yaml.Node | None) -> None:
        """Remember the keys of a mapping; of one that stands twice the last counts."""
        import yaml

        if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == f"{_TAG}null"):
            return
        if not isinstance(root, yaml.MappingNode):
            raise ValueError("no mapping")
        for key, value in root.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            self.restricted = self.restricted or key.value.startswith(_GATED)
            if key.value in card_rules.KEYS:
                if key.value in self.nodes:
                    self.notes.append(f"{NOTE} says `{key.value}` twice; the last one is taken")
                self.nodes[key.value] = value

    def fields(self) -> dict[str, Any]:
        """The values in the Hub's words."""
        found = {
            "license": self._each("license", self._license),
            "license_name": self._text("license_name", card_rules.license_name),
            "license_link": self._text("license_link", card_rules.license_link),
            "language": self._each("language", card_rules.language_code, split=True),
            "pipeline_tag": self._text("pipeline_tag", card_rules.pipeline_tag),
        }
        return {key: found[key] for key in card_rules.KEYS if found[key]}

    def _license(self, text: str) -> str:
        found = card_rules.license_id(text)
        if not card_rules.is_exact(text, found):
            self.notes.append(
                f"{NOTE}'s licence {show(text)} is written `{found}`, the Hub's one id for its text"
            )
        return found

    def _text(self, key: str, words: Callable[[str], str | None]) -> str | None:
        """One text; a list of one is one."""
        texts, odd = self._texts(key)
        value = words(texts[0]) if texts else None
        if texts and not value:
            odd.append(show(texts[0]))
        self._leave_out(key, [*odd, *map(show, texts[1:])])
        return value

    def _each(
        self, key: str, words: Callable[[str], str | None], *, split: bool = False
    ) -> str | list[str] | None:
        """A text, or a list of texts as it was written."""
        import yaml

        texts, odd = self._texts(key, keys=split)
        if split:
            texts = [part.strip() for text in texts for part in re.split(r"[,;/|\n]", text) if part.strip()]
        found = [(text, words(text)) for text in texts]
        self._leave_out(key, [*odd, *(show(text) for text, value in found if not value)])
        values = list(dict.fromkeys(value for _, value in found if value))
        single = isinstance(self.nodes.get(key), yaml.ScalarNode) and len(values) == 1
        return values[0] if single else values or None

    def _texts(self, key: str, *, keys: bool = False) -> tuple[list[str], list[str]]:
        """The texts of a value, and what else is in it."""
        import yaml

        node = self.nodes.get(key)
        texts, odd = [], []
        for one in islice(() if node is None else _items(node, keys=keys), _MAX_ITEMS):
            if isinstance(one, yaml.ScalarNode) and one.tag == f"{_TAG}null":
                if one is not node:
                    odd.append("`null`")
            elif isinstance(one, yaml.ScalarNode) and key in _TYPED and one.tag != f"{_TAG}str":
                odd.append(show(plain(one.value)))
            elif isinstance(one, yaml.ScalarNode) and _is_core(one):
                if text := plain(one.value) if "\n" not in one.value.strip() or not keys else one.value:
                    texts.append(text)
            else:
                odd.append(show({}) if isinstance(one, yaml.MappingNode) else show([]))
        return texts, odd

    def _leave_out(self, key: str, values: list[str]) -> None:
        values = list(dict.fromkeys(values))
        if values:
            more = [f"{len(values) - _MAX_SHOWN} more"] if len(values) > _MAX_SHOWN else []
            self.notes.append(
                f"{NOTE}'s `{key}` is read without {joined([*values[:_MAX_SHOWN], *more])}, no {_KINDS[key]} "
                "that the Hub knows"
            )


_KINDS = {
    "license": "licence",
    "license_name": "licence's name",
    "license_link": "licence's address",
    "language": "language",
    "pipeline_tag": "pipeline",
}


def _composed(lines: list[str]) -> yaml.Node | None:
    """The nodes as written; no object is made of them."""
    import yaml

    text = yaml.reader.Reader.NON_PRINTABLE.sub(" ", "\n".join(lines))
    node: yaml.Node | None = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return node


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """The lines of each key that is taken: from where it stands at the top level up to the next one."""
    block: list[str] = []
    for line in lines:
        if found := KEY.match(line):
            if block:
                yield block
            block = [line.expandtabs(4)] if found[1] in card_rules.KEYS else []
        elif block:
            block.append(line.expandtabs(4))
    if block:
        yield block


def _items(node: yaml.Node, *, keys: bool) -> Iterator[yaml.Node]:
    """A scalar, or the items of a list and of the lists in it.

    Args:
        keys: a mapping's keys stand for it (`language: {en: 90, de: 10}`).
    """
    import yaml

    def inner(one: yaml.Node, depth: int) -> Iterator[yaml.Node]:
        if isinstance(one, yaml.SequenceNode) and _is_core(one) and depth < 2:
            for item in islice(one.value, _MAX_ITEMS):
                yield from inner(item, depth + 1)
        elif isinstance(one, yaml.MappingNode) and _is_core(one) and keys:
            yield from (key for key, _ in one.value)
        else:
            yield one

    return inner(node, 0)


def _is_core(node: yaml.Node) -> bool:
    """Whether a value has no tag of somebody's own (`!!python/…`)."""
    return bool(node.tag.startswith(_TAG)) and ":python/" not in node.tag
