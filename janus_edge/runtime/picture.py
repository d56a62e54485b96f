"""What the pipeline hands out: pictures with their provenance, answers, and a sheet of pictures."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

import janus_edge
from janus_edge.atomic_file import written_aside
from janus_edge.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One generated picture and what it takes to make it again.

    ``image`` is RGB; ``codes`` [T] int64 are its VQ codes, row by row; ``index`` is its number
    among the pictures of its prompt, which keys the noise together with ``seed``.
    """

    image: Image.Image = field(repr=False)
    codes: NDArray[np.int64] = field(repr=False)
    prompt: str
    seed: int
    index: int
    guidance_scale: float
    temperature: float

    def save(self, path: str | Path) -> None:
        """Write a PNG whose text chunks hold the prompt, the seed and the settings.

        The file appears whole or not at all: it is written aside and renamed. Raises InputError if
        the name does not end in ``.png``, the folder does not exist, or it cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".png":
            raise InputError(f"{target}: a picture is saved as PNG; end the name in .png")
        if not target.parent.is_dir():
            raise InputError(f"{target.parent}: no such folder; create it first")
        if target.is_dir():
            raise InputError(f"{target}: is a folder; give a file name")
        with written_aside(target) as aside:
            self.image.save(aside, "PNG", pnginfo=self._metadata())

    def _metadata(self) -> PngInfo:
        settings = {
            "prompt": self.prompt,
            "seed": str(self.seed),
            "index": str(self.index),
            "guidance_scale": repr(float(self.guidance_scale)),
            "temperature": repr(float(self.temperature)),
            "Software": f"janus-edge {janus_edge.__version__}",
        }
        info = PngInfo()
        for key, value in settings.items():
            # iTXt is UTF-8 and may hold any prompt; a plain tEXt chunk is Latin-1
            (info.add_text if value.isascii() else info.add_itxt)(key, value)
        return info


@dataclass(frozen=True, slots=True, eq=False)
class GenerationStep:
    """Progress of a generation: ``step`` of ``total`` codes of every picture are drawn.

    ``codes`` [P, step] int64; ``passes`` of the language model were run for them behind the prompt;
    ``pictures`` is empty until the last step, which holds them all.
    """

    step: int
    total: int
    codes: NDArray[np.int64]
    passes: int
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to a question.

    ``finish_reason`` is ``stop`` if the model ended it and ``length`` if the limit did;
    ``token_ids`` are the answer's tokens without EOS; ``prompt_tokens`` counts the positions that
    the question (with the conversation before it) took.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PAPER = (250, 250, 250)
_INK = (40, 40, 40)
_PALE = (130, 130, 130)

#: What decomposition leaves as it is.
_SPELLED_OUT = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "\u2013": "-", "\u2014": "-"})


def contact_sheet(
    pictures: Sequence[Picture], columns: int | None = None, caption: bool = True
) -> Image.Image:
    """All pictures on one RGB sheet, in rows, each above a small caption of its prompt and seed.

    A long prompt ends in an ellipsis, and so does what PIL's font (ASCII) cannot write.
    Without ``columns`` the sheet is about as wide as high with few places left empty. Raises
    InputError for no pictures or ``columns`` below 1.
    """
    if not pictures:
        raise InputError("a contact sheet needs at least one picture")
    if columns is not None and columns < 1:
        raise InputError(f"a contact sheet needs at least one column, found {columns}")
    across = min(columns or _columns(len(pictures)), len(pictures))
    down = math.ceil(len(pictures) / across)
    width = max(picture.image.width for picture in pictures)
    height = max(picture.image.height for picture in pictures)
    gap = max(8, width // 24)
    font = ImageFont.load_default(max(10, min(16, width // 20)))
    below = gap // 2 + 2 * _line_height(font) if caption else 0
    step = (width + gap, height + below + gap)
    sheet = Image.new("RGB", (gap + across * step[0], gap + down * step[1]), _PAPER)
    for place, picture in enumerate(pictures):
        left, top = gap + place % across * step[0], gap + place // across * step[1]
        image = picture.image
        sheet.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))
        if caption:
            _write_caption(sheet, picture, (left, top + height + gap // 2), width, font)
    return sheet


def _write_caption(
    sheet: Image.Image, picture: Picture, corner: tuple[int, int], width: int, font: _Font
) -> None:
    left, top = corner
    draw = ImageDraw.Draw(sheet)
    prompt = _drawable(" ".join(picture.prompt.split()))
    draw.text((left, top), _shortened(prompt, font, width), _INK, font)
    origin = f"no. {picture.index}, seed {picture.seed}"
    draw.text((left, top + _line_height(font)), _shortened(origin, font, width), _PALE, font)


def _line_height(font: _Font) -> int:
    return math.ceil(1.15 * (font.getbbox("Ag")[3]))


def _columns(count: int) -> int:
    """Between square and three wide to one high, whichever leaves the fewest places empty."""
    widths = range(math.ceil(math.sqrt(count)), int(1.75 * math.sqrt(count)) + 1)
    return min(widths, key=lambda width: (-count % width, width))


def _drawable(text: str) -> str:
    """``text`` in the letters that PIL's own font has: accents off, other scripts as an ellipsis.

    That font is ASCII and a few quotation marks (looked up glyph by glyph in Pillow 13); anything
    else would be a row of empty boxes. The saved picture's metadata keep the whole prompt.
    """
    plain = unicodedata.normalize("NFKD", text.translate(_SPELLED_OUT))
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return re.sub(r"[^ -~‘’“”…]+([\s!-/:-@]+[^ -~‘’“”…]+)*", "…", letters)


def _shortened(text: str, font: _Font, width: int) -> str:
    """``text``, or as much of it as fits ``width`` pixels with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    end = len(text)
    while end and font.getlength(text[:end].rstrip() + "…") > width:
        end -= 1
    return text[:end].rstrip() + "…"
