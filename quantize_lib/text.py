"""Figures and foreign text where a person meets them: bytes, durations, and escaping.

Names, settings, licences, errors and generated text come from manifests and models; none of it may steer a
terminal or become markup.
"""

from __future__ import annotations

import re
import unicodedata

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")
SIZE_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(kB|MB|GB|TB)$"
"""What `parse_bytes` takes."""
_LONE = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>&#|~$!:@\"']")


def format_bytes(count: float) -> str:
    """Decimal, as disks and the Hub count: `269.1 MB`."""
    for unit in _BYTE_UNITS[:-1]:
        if abs(count) < 999.95:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_BYTE_UNITS[-1]}"


def parse_bytes(text: str) -> int:
    """The bytes of a size as `format_bytes` writes it (`1.2 GB`); the text follows `SIZE_PATTERN`."""
    number, unit = text[:-2].strip(), text[-2:]
    return round(float(number) * 1000.0 ** _BYTE_UNITS.index(unit))


def format_duration(seconds: float) -> str:
    """`3.2 s`, `12 s`, `2 min 05 s`, `1 h 04 min`."""
    seconds = max(0.0, seconds)
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def mend(text: str) -> tuple[str, int]:
    """A text that every encoding takes, and how many halves of surrogate pairs were alone in it.

    JSON, and texts that were cut, have such halves: alone they become U+FFFD, and pairs are joined.
    """
    text, alone = _LONE.subn("\ufffd", text)
    if _HALF.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    return text, alone


def printable(text: str) -> str:
    """Text that cannot steer a terminal: no control, format or separator characters but tab and newline.

    Bidirectional overrides are format characters, so a line reads in the order in which it stands.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        char
        for char in text
        if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )


def plain(text: str) -> str:
    """One line without control characters: what a terminal would obey is shown as a space."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


def markdown(text: str) -> str:
    """One line that renders as the text itself: no markup, HTML, link, template or table border.

    Character references are text to Markdown and to HTML alike, inside tables too.
    """
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", plain(text))
