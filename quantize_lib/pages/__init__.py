"""Self-contained HTML pages: one file that needs no network, no script and no other file."""

from quantize_lib.pages.page import render_page

__all__ = ["render_page"]
