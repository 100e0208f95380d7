"""Foreign text cannot become markup."""

from __future__ import annotations

from quantize_lib.card.escape import code, code_block
from quantize_lib.text import markdown, plain


def test_ordinary_names_stay_readable() -> None:
    assert markdown("SmolLM2-135M-Instruct, 4.5 bits (x+y)") == "SmolLM2-135M-Instruct, 4.5 bits (x+y)"


def test_a_code_block_cannot_be_closed_from_within() -> None:
    assert code_block("a\n```\n# out\n`````\nb", "sh") == "``````sh\na\n```\n# out\n`````\nb\n``````"


def test_inline_code_holds_backticks_pipes_and_tags() -> None:
    assert code("a`b|</code>") == "<code>a&#96;b&#124;&#60;/code&#62;</code>"


def test_line_breaks_of_every_kind_become_spaces() -> None:
    assert plain("a\r\nb\x0bc\u2028d\x85e") == "a b c d e"
