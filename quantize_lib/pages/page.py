"""Renders a page from a template that fills in `base.html.j2`.

Every value is text until it says otherwise: it is escaped, without the characters that would steer a
line's direction. Whatever slips through all the same, the page's content security policy lets it load and
run nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from quantize_lib.text import printable

_FOLDER = Path(__file__).parent
_WEB = ("http", "https")


def render_page(template: Path, values: Mapping[str, Any]) -> str:
    """A whole HTML page.

    Args:
        template: a Jinja file that extends `base.html.j2` and fills in its blocks `title`, `lede` and `main`;
            what it can import from `macros.html.j2` makes links, badges and figures.
        values: by their names in the template.

    Raises:
        jinja2.UndefinedError: where a value is missing that the template names.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, _FOLDER]),
        undefined=StrictUndefined,
        autoescape=True,
        # What is HTML already says so in this way.
        finalize=lambda value: value if hasattr(value, "__html__") else printable(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"web": web_address, "relative": relative_address}
    return environment.get_template(template.name).render(values)


def web_address(address: str | None) -> str | None:
    """An address that a page may link to; None for `javascript:` and whatever else is not of the web."""
    if address is None:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in _WEB and parts.netloc else None


def relative_address(path: str) -> str:
    """The address of a file or folder beside the page, whatever characters its name has."""
    # A name with a colon would be an address of another kind without the `./`.
    return f"./{quote(path)}"
