"""Ways in which a model's small files are other than they should be, for property-based tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**30, 0.5, -1e308, float("nan"), float("inf")),
    *("", " ", "0", "x", "no", "../../etc/passwd", "é\u202e\x00", "\ud800", "{{ 7 * 7 }}", "a" * 5000),
    *([], [None], [[]], [1, "a"], {}, {"a": {}}, {"type": "nothing"}, [{"id": -1}]),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document, the whole included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at a place; without the place where the value is `...`."""
    if not path:
        return None if value is ... else value
    copy = dict(document) if isinstance(document, dict) else list(document)
    if len(path) == 1 and value is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(document[path[0]], path[1:], value)
    return copy


@st.composite
def damaged_json(draw: st.DrawFn, data: bytes) -> bytes:
    """A JSON file with one or two values changed, or with its bytes damaged."""
    document = json.loads(data)
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged_bytes(data))
    for _ in range(draw(st.integers(1, 2))):
        places = list(paths(document))
        # Near the top stand most of those that matter.
        shallow = [place for place in places if len(place) <= 2]
        place = draw(st.sampled_from(shallow) | st.sampled_from(places))
        document = changed(document, place, draw(st.sampled_from((*VALUES, ...))))
    return json.dumps(document).encode()


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes cut off, put in between, or others altogether."""
    at = draw(st.integers(0, len(data)))
    pieces = (b"", b"\xef\xbb\xbf", b"\xff", b"\x00", b"\n---\n", b"{", b'"', b"\t", b"a: &a [*a]\n")
    piece = draw(st.sampled_from(pieces))
    whole = st.sampled_from((b"", b"null", b"[]", b"\x80\x04N.", data[:at], data.decode().encode("utf-16")))
    return draw(whole | st.just(data[:at] + piece + data[at:]))
