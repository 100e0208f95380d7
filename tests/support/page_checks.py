"""What every page has to be: it asks for nothing else, and fits a phone as it fits a desk, light and dark."""

from __future__ import annotations

import pytest

from tests.support.chromium import Browser

LONG = "a-model-with-a-long-name-" * 4
HOSTILE = '"><img src=https://evil.example/x.png onerror=alert(1)><script src=//evil.example/x.js></script>'
_SIZES = {"phone": (390, 844), "desk": (1400, 1000)}

every_view = pytest.mark.parametrize(
    ("width", "height", "dark"),
    [
        pytest.param(*size, dark, id=f"{name}-{'dark' if dark else 'light'}")
        for name, size in _SIZES.items()
        for dark in (False, True)
    ],
)
"""For tests that take `width`, `height` and `dark`."""


def assert_stands_alone_and_fits(
    opened: Browser, address: str, *, width: int, height: int, dark: bool
) -> None:
    """Open a page with all that is folded in it, and leave it open."""
    opened.open(address, width=width, height=height, dark=dark)
    opened.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert opened.requests == [address]
    assert opened.messages == []
    assert opened.value("document.images.length + document.scripts.length") == 0
    assert opened.value("document.documentElement.scrollWidth") == width
    assert opened.too_wide() == []
    paper = opened.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
