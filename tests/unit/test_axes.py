"""Outside its own folder nobody asks for an entry of an axis by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from quantize_lib.benchmark.servers import SERVERS
from quantize_lib.formats import FORMATS
from quantize_lib.methods import METHODS
from quantize_lib.metrics import COMPARED, LIMITS, METRICS
from quantize_lib.state_stores import STATE_STORES
from quantize_lib.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
SEARCHED = ("quantize_lib", "tools")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What is searched for.

    Attributes:
        names: of the entries.
        own: folders and files that may name them.
        also: further words that tell entries apart (a slug, a Hub's word), searched for as well.
    """

    names: frozenset[str]
    own: tuple[str, ...]
    also: frozenset[str] = frozenset()


ROUNDED_AND_STORED = ("quantize_lib/methods", "quantize_lib/engine/methods", "quantize_lib/formats")
"""A method's own format has its name, so that both may be named there."""
AXES: Mapping[str, Axis] = {
    "methods": Axis(
        names=frozenset(METHODS),
        own=ROUNDED_AND_STORED,
        also=frozenset(word for method in METHODS.values() for word in (method.slug, *method.also_called)),
    ),
    "formats": Axis(
        names=frozenset(FORMATS),
        own=ROUNDED_AND_STORED,
        also=frozenset(chosen.quant_method for chosen in FORMATS.values()),
    ),
    "metrics": Axis(
        names=frozenset(METRICS),
        own=("quantize_lib/metrics",),
        also=frozenset(
            {
                *LIMITS,
                *(key for metric in METRICS.values() for key in metric.keys),
                *(key for metric in COMPARED.values() for key in metric.sample_keys),
            }
        ),
    ),
    # Cards have words for two of them, under their names, which formats say.
    "servers": Axis(
        names=frozenset(SERVERS),
        own=("quantize_lib/benchmark/servers", "quantize_lib/formats"),
    ),
    "targets": Axis(
        names=frozenset(TARGETS),
        own=("quantize_lib/targets", *(f"quantize_lib/publish/{name}" for name in TARGETS)),
    ),
    "state stores": Axis(
        names=frozenset(STATE_STORES),
        # The action has an input of one's name.
        own=(
            *("quantize_lib/state_stores", "quantize_lib/targets", "quantize_lib/publish"),
            *("tools/action/main.py", "tools/action/inputs.py"),
        ),
    ),
}


def texts(node: ast.AST) -> Iterator[str]:
    """The text constants of an expression, also those in a tuple, a list or a set."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for item in node.elts:
            yield from texts(item)


def asked(node: ast.AST) -> Iterator[str]:
    """The words by which a node decides: of a comparison, a case, a key of a mapping, a look-up."""
    match node:
        case ast.Compare():
            for part in (node.left, *node.comparators):
                yield from texts(part)
        case ast.MatchValue():
            yield from texts(node.value)
        case ast.Subscript():
            yield from texts(node.slice)
        case ast.Dict():
            for key in node.keys:
                if key is not None:
                    yield from texts(key)
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name == "get" or name.startswith(
            "get_"
        ):
            for argument in node.args[:1]:
                yield from texts(argument)
        case _:
            return


def by_name(source: str, axis: Axis) -> list[int]:
    """The lines of a module that ask for an entry by name."""
    wanted = axis.names | axis.also
    return [
        getattr(node, "lineno", 0)
        for node in ast.walk(ast.parse(source))
        if not wanted.isdisjoint(asked(node))
    ]


@pytest.mark.parametrize("name", AXES)
def test_nobody_asks_for_an_entry_by_name(name: str) -> None:
    axis = AXES[name]
    own = tuple(ROOT / place for place in axis.own)
    assert all(place.exists() for place in own)
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in SEARCHED
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(path == place or place in path.parents for place in own)
        for line in by_name(path.read_text(encoding="utf-8"), axis)
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        'if spec.to == "hub": ...',
        'x = 1 if "hub" != to else 2',
        'if to in ("hub", "other"): ...',
        'match to:\n    case "hub" | "other": ...',
        'places["hub"]',
        'places = {"hub": 1}',
        'places.get("hub")',
        'get_target("hub")',
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert by_name(source, AXES["targets"])


@pytest.mark.parametrize("source", ['"hub"', 'print("hub")', 'add_argument("hub")', 'hub["other"]'])
def test_a_word_that_decides_nothing_is_left_alone(source: str) -> None:
    assert not by_name(source, AXES["targets"])
