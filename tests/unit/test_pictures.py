"""Pictures: the same bytes for the same figures, and colours that every reader can tell apart."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest

from quantize_lib.pictures.palette import COLOURS, MARKERS, look
from quantize_lib.pictures.picture import INK, Picture, drawing, new_figure

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "$\\alpha$ <script>x</script> 漢字 & \"'"


def drawn(name: str = "test") -> Picture:
    with drawing():
        figure = new_figure(440, 300, left=60, bottom=50)
        axes = figure.subplots()
        axes.errorbar([1, 2], [3, 4], yerr=[0.1, 0.2], label=HOSTILE)
        axes.set_xlabel("size, MB")
        axes.legend()
        return Picture(name, "what it shows", figure)


def test_the_same_figures_give_the_same_bytes() -> None:
    first, second = drawn(), drawn()
    assert first.svg() == second.svg() == first.svg()
    assert first.inline_svg() == second.inline_svg()
    assert first.png() == second.png()


def test_text_in_a_picture_is_text_and_no_markup() -> None:
    for svg in (drawn().svg(), drawn().inline_svg()):
        texts = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
        assert "size, MB" in texts
        assert HOSTILE in texts


def test_a_picture_file_is_dark_on_white_and_says_neither_when_nor_by_what_it_was_drawn() -> None:
    svg = drawn().svg()
    assert "fill: #ffffff" in svg
    assert INK in svg
    assert "metadata" not in svg
    assert "matplotlib" not in svg.lower()


def test_a_picture_in_a_page_has_the_colour_of_its_text_and_shares_no_id_with_another() -> None:
    one, other = drawn("one").inline_svg(), drawn("other").inline_svg()
    assert one.startswith("<svg ")
    assert INK not in one
    assert "currentColor" in one
    assert "<style" not in one

    def ids(svg: str) -> set[str]:
        return {
            element.attrib["id"] for element in ElementTree.fromstring(svg).iter() if "id" in element.attrib
        }

    assert ids(one)
    assert not ids(one) & ids(other)


def linear(colour: str) -> tuple[float, float, float]:
    """Linear red, green and blue of `#rrggbb`."""
    parts = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return red, green, blue


def luminance(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("paper", ["#ffffff", "#14171c"])
def test_outlines_and_the_first_colours_stand_out_from_the_paper(paper: str) -> None:
    """WCAG 2.2, 1.4.11: graphics need a contrast of 3 to 1. Later colours have their outline."""
    for colour in COLOURS[:3]:
        low, high = sorted((luminance(colour), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 3, colour


# Machado, Oliveira and Fernandes (2009), severity 1: what dichromats see, in linear RGB.
SIGHT = {
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}


@pytest.mark.parametrize("sight", SIGHT)
def test_colour_blind_readers_tell_the_colours_apart(sight: str) -> None:
    def seen(colour: str) -> tuple[float, ...]:
        light = linear(colour)
        return tuple(sum(a * b for a, b in zip(row, light, strict=True)) for row in SIGHT[sight])

    for one, other in combinations(COLOURS, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen(one), seen(other), strict=True)) ** 0.5
        assert distance > 0.1, (one, other, distance)


def test_no_two_series_of_many_look_alike() -> None:
    assert len({look(index) for index in range(len(COLOURS) * len(MARKERS))}) == len(COLOURS) * len(MARKERS)
