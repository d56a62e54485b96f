"""A sheet of painted pictures, a row for each category: right ones in green, wrong ones in red."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from janus_edge.errors import InputError
from janus_edge.evaluation.report import Painted, ScaleScore

Shown = tuple[Painted, Image.Image]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

#: Pictures in a row, and how many of these may be wrong while there are right ones.
ACROSS, WRONG = 8, 3
#: How many times larger pictures are drawn, and the width of their frames in pixels.
ENLARGED, FRAME = 3, 4

GREEN, RED = (38, 142, 66), (200, 42, 48)
_PAPER, _INK, _PALE = (250, 250, 250), (35, 35, 35), (120, 120, 120)
_MARGIN, _GAP = 24, 14


def contact_sheet(score: ScaleScore, shown: Sequence[Shown]) -> Image.Image:
    """The first right and wrong pictures of every category of ``score``, RGB.

    ``shown`` holds pictures of one size with their outcomes, of which those of the score's scale
    are taken: up to 8 a category, at most 3 of them wrong unless there are too few right ones.
    Raises InputError if there are none.
    """
    rows = {name: _chosen(name, score.guidance_scale, shown) for name in score.categories}
    if not any(rows.values()):
        raise InputError(f"no pictures of guidance scale {score.guidance_scale:g} for the sheet")
    title, heading, text = (ImageFont.load_default(size) for size in (24, 18, 14))
    largest = max(image.width for row in rows.values() for _, image in row)
    cell = ENLARGED * largest + 2 * FRAME
    heights = [_heading_height(heading) + _row_height(row, cell, text) for row in rows.values()]
    top = _MARGIN + _line(title) + _GAP
    width = 2 * _MARGIN + ACROSS * cell + (ACROSS - 1) * _GAP
    sheet = Image.new("RGB", (width, top + sum(heights) + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    overall = score.overall
    pen.text(
        (_MARGIN, _MARGIN),
        f"guidance scale {score.guidance_scale:g}: {overall.right} of {overall.total} pictures "
        f"show what was asked for and nothing else ({overall.share:.0%})",
        _INK,
        title,
    )
    for (name, row), height in zip(rows.items(), heights, strict=True):
        share = score.categories[name].score
        pen.text((_MARGIN, top), name, _INK, heading)
        after = _MARGIN + heading.getlength(name) + _GAP
        pen.text((after, top), f"{share.right} of {share.total} right", _PALE, heading)
        for place, (painted, image) in enumerate(row):
            corner = (_MARGIN + place * (cell + _GAP), top + _heading_height(heading))
            _place(sheet, painted, image, corner, cell, text)
        top += height
    return sheet


def _chosen(category: str, scale: float, shown: Sequence[Shown]) -> list[Shown]:
    """The first of each kind, the right ones first: nothing is picked by its looks."""
    here = [s for s in shown if (s[0].category, s[0].guidance_scale) == (category, scale)]
    right, wrong = ([s for s in here if (s[0].fault is None) is kind] for kind in (True, False))
    room = max(WRONG, ACROSS - len(right))
    kept = wrong[:room]
    return right[: ACROSS - len(kept)] + kept


def _place(
    sheet: Image.Image,
    painted: Painted,
    image: Image.Image,
    corner: tuple[int, int],
    cell: int,
    font: _Font,
) -> None:
    """Draw one picture in its frame with its prompt, and its fault, below."""
    left, top = corner
    pen = ImageDraw.Draw(sheet)
    frame = RED if painted.fault else GREEN
    pen.rectangle((left, top, left + cell - 1, top + cell - 1), fill=frame)
    size = (image.width * ENLARGED, image.height * ENLARGED)
    # nearest: the pixels are what was judged
    sheet.paste(image.resize(size, Image.Resampling.NEAREST), (left + FRAME, top + FRAME))
    top += cell + _GAP // 3
    for line in wrapped(painted.prompt, cell, font):
        pen.text((left, top), line, _INK, font)
        top += _line(font)
    for line in wrapped(painted.fault or "", cell, font):
        pen.text((left, top), line, RED, font)
        top += _line(font)


def wrapped(text: str, width: int, font: _Font) -> list[str]:
    """``text`` in lines of at most ``width`` pixels; a word that is longer has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _row_height(row: Sequence[Shown], cell: int, font: _Font) -> int:
    lines = [
        len(wrapped(p.prompt, cell, font) + wrapped(p.fault or "", cell, font)) for p, _ in row
    ]
    return cell + _GAP // 3 + max(lines, default=0) * _line(font) + 2 * _GAP


def _heading_height(font: _Font) -> int:
    return _line(font) + _GAP // 2


def _line(font: _Font) -> int:
    return math.ceil(1.15 * font.getbbox("Ag")[3])
