"""Every category has a row of its first pictures, framed by their outcome."""

from __future__ import annotations

import pytest
from PIL import Image, ImageFont

from janus_edge.errors import InputError
from janus_edge.evaluation.contact_sheet import (
    ACROSS,
    ENLARGED,
    FRAME,
    GREEN,
    RED,
    contact_sheet,
    wrapped,
)
from janus_edge.evaluation.report import Painted, Painting

LONG = "a photo of two orange triangles, a purple ring and a cyan cross on a beige background"
CELL = 64 * ENLARGED + 2 * FRAME


def shown(category: str, outcomes: str, scale: float = 5.0) -> list[tuple[Painted, Image.Image]]:
    """A picture for each letter: r is right, w is wrong; its grey level tells its number."""
    return [
        (
            Painted(category, LONG, number, scale, "wrong shape" if letter == "w" else None),
            Image.new("RGB", (64, 64), (10 * number, 10 * number, 10 * number)),
        )
        for number, letter in enumerate(outcomes)
    ]


def sheet_of(*rows: list[tuple[Painted, Image.Image]]) -> Image.Image:
    pictures = [picture for row in rows for picture in row]
    return contact_sheet(Painting.of(p for p, _ in pictures).scales[0], pictures)


def frames(sheet: Image.Image) -> list[tuple[str, int]]:
    """Outcome and number of the pictures of a sheet with one row, read from its pixels."""
    found = []
    for top in range(sheet.height - CELL):
        corners = [x for x in range(sheet.width) if sheet.getpixel((x, top)) in (GREEN, RED)]
        if len(corners) > CELL // 2:
            break
    for left in [x for x in corners if x - 1 not in corners]:
        frame = sheet.getpixel((left, top))
        box = (left, top, left + CELL, top + CELL)
        border = [
            (0, 0),
            (CELL - 1, 0),
            (0, CELL - 1),
            (CELL - 1, CELL - 1),
            (CELL // 2, FRAME - 1),
        ]
        assert {sheet.crop(box).getpixel(xy) for xy in border} == {frame}
        inside = sheet.crop((left + FRAME, top + FRAME, left + CELL - FRAME, top + CELL - FRAME))
        ((count, colour),) = inside.getcolors()
        assert count == (64 * ENLARGED) ** 2, "the picture fills its frame"
        found.append(("r" if frame == GREEN else "w", colour[0] // 10))
    return found


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ("rw", "r0 w1"),
        ("wrwrwrwrwrwr", "r1 r3 r5 r7 r9 w0 w2 w4"),
        ("rrrrrrrrrr", "r0 r1 r2 r3 r4 r5 r6 r7"),
        ("wwwwwwwwwr", "r9 w0 w1 w2 w3 w4 w5 w6"),
        ("rrrrrrrrrw", "r0 r1 r2 r3 r4 r5 r6 w9"),
    ],
)
def test_frames(outcomes: str, expected: str) -> None:
    """The first right ones in green, then the first wrong ones in red: 8, of which 3 wrong."""
    found = frames(sheet_of(shown("dense", outcomes)))
    assert " ".join(f"{kind}{number}" for kind, number in found) == expected
    assert len(found) <= ACROSS


def test_size() -> None:
    """As wide as eight pictures, whatever their number; a row for each category."""
    one, two = (sheet_of(*(shown(name, "rw") for name in names)) for names in (["a"], ["a", "b"]))
    assert one.mode == "RGB"
    assert one.width == two.width >= ACROSS * CELL
    assert two.height - one.height > CELL


def test_other_scales_stay_out() -> None:
    pictures = [*shown("dense", "rr"), *shown("dense", "ww", scale=7.0)]
    best = Painting.of(p for p, _ in pictures).best
    assert frames(contact_sheet(best, pictures)) == [("r", 0), ("r", 1)]
    with pytest.raises(InputError, match="no pictures of guidance scale 5"):
        contact_sheet(best, pictures[2:])


def test_long_prompts_wrap() -> None:
    """No line is wider than the picture, no word is lost."""
    font = ImageFont.load_default(14)
    lines = wrapped(LONG, CELL, font)
    assert len(lines) > 1
    assert " ".join(lines) == LONG
    assert max(font.getlength(line) for line in lines) <= CELL
    assert wrapped("", CELL, font) == []
    assert wrapped("a " + "x" * 99, CELL, font) == ["a", "x" * 99]
