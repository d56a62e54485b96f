"""Saved pictures carry their provenance, and sheets show every picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

import janus_edge
from janus_edge.errors import InputError
from janus_edge.runtime.picture import Answer, Picture, _drawable, _shortened, contact_sheet

LONG = "a close-up photo of an opera house beside a tower under a night sky of swirling stars " * 3


def make_picture(prompt: str = "a fox", index: int = 0, size: int = 96) -> Picture:
    colour = (20 + 10 * index, 100, 200)
    codes = np.arange(36, dtype=np.int64)
    return Picture(Image.new("RGB", (size, size), colour), codes, prompt, 7, index, 5.0, 1.0)


@pytest.mark.parametrize(
    "prompt", ["a fox", "ein weißer Fuchs", "雪地里的红狐狸 🦊", "two\nlines", "", LONG]
)
def test_save_keeps_picture_and_provenance(tmp_path: Path, prompt: str) -> None:
    """Pixels come back exactly, and so do the prompt in any script, the seed and the settings."""
    picture = make_picture(prompt, index=3)
    picture.save(tmp_path / "fox.png")
    with Image.open(tmp_path / "fox.png") as saved:
        assert saved.format == "PNG"
        np.testing.assert_array_equal(np.array(saved), np.array(picture.image))
        assert saved.text == {
            "prompt": prompt,
            "seed": "7",
            "index": "3",
            "guidance_scale": "5.0",
            "temperature": "1.0",
            "Software": f"janus-edge {janus_edge.__version__}",
        }


def test_save_replaces_and_leaves_nothing_aside(tmp_path: Path) -> None:
    """Saving over a file replaces it, and no partial file stays."""
    target = tmp_path / "fox.PNG"
    make_picture(index=1).save(str(target))
    make_picture(index=2).save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["fox.PNG"]
    with Image.open(target) as saved:
        assert saved.getpixel((0, 0)) == (40, 100, 200)


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an InputError; the old picture is whole and nothing partial stays."""
    target = tmp_path / "fox.png"
    make_picture().save(target)
    before = target.read_bytes()

    def full(_: Image.Image, path: Path, *_args: object, **_options: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(InputError, match="No space left"):
        make_picture("another").save(target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["fox.png"]


def test_save_says_what_is_wrong(tmp_path: Path) -> None:
    """A missing folder, a folder as the target and another format are InputErrors."""
    (tmp_path / "folder.png").mkdir()
    for name, message in [
        ("absent/fox.png", "no such folder"),
        ("folder.png", "is a folder"),
        ("fox.jpg", "saved as PNG"),
        ("fox", "saved as PNG"),
    ]:
        with pytest.raises(InputError, match=message):
            make_picture().save(tmp_path / name)


def test_pictures_and_answers_are_frozen() -> None:
    """Results cannot be changed, and a picture's repr does not print its codes."""
    picture = make_picture()
    with pytest.raises(dataclasses.FrozenInstanceError):
        picture.seed = 8  # type: ignore[misc]
    assert "codes" not in repr(picture)
    answer = Answer("a fox", (1, 2), "stop", 600)
    assert answer == Answer("a fox", (1, 2), "stop", 600)
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.text = ""  # type: ignore[misc]


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 3), (7, 4), (9, 3), (10, 5)]
)
@pytest.mark.parametrize("size", [96, 384])
def test_sheet_shows_every_picture_in_order(count: int, columns: int, size: int) -> None:
    """Picture n stands unscaled at row n // columns, column n % columns."""
    prompts = ["a fox", LONG, "雪地里的红狐狸", ""]
    pictures = [make_picture(prompts[n % 4], n, size) for n in range(count)]
    pixels = np.array(contact_sheet(pictures))
    corners = []
    for picture in pictures:
        rows, across = np.nonzero((pixels == picture.image.getpixel((0, 0))).all(axis=2))
        assert rows.size == size * size
        corners.append((rows.min(), across.min()))
    assert corners == sorted(corners)
    assert len({left for _, left in corners}) == columns
    assert len({top for top, _ in corners}) == -(-count // columns)


def test_captions_stay_under_their_picture() -> None:
    """A long prompt in one column does not write into the next, nor into the margin."""
    pictures = [make_picture(LONG, 0), make_picture("", 1)]
    pixels = np.array(contact_sheet(pictures)).astype(int)
    ink = (pixels.sum(axis=2) < 600) & (np.ptp(pixels, axis=2) < 10)
    columns = np.nonzero(ink[8 + 96 : 8 + 96 + 4 + 12].any(axis=0))[0]
    assert columns.size
    assert columns.min() >= 8
    assert columns.max() < 8 + 96


def test_captions_can_be_left_out() -> None:
    """Without captions there is only the gap between the rows."""
    sheet = contact_sheet([make_picture(index=n) for n in range(4)], caption=False)
    assert sheet.size == (8 + 2 * 104, 8 + 2 * 104)


def test_sheet_of_mixed_sizes_and_given_columns() -> None:
    """The largest picture sets the cell; more columns than pictures leave none empty."""
    pictures = [make_picture(size=96), make_picture(index=1, size=48)]
    assert contact_sheet(pictures, columns=9, caption=False).size == (8 + 2 * 104, 112)
    assert contact_sheet(pictures, columns=1, caption=False).size == (112, 8 + 2 * 104)


def test_sheet_needs_pictures_and_columns() -> None:
    """No pictures and no columns are InputErrors."""
    with pytest.raises(InputError, match="at least one picture"):
        contact_sheet([])
    with pytest.raises(InputError, match="at least one column"):
        contact_sheet([make_picture()], columns=0)


def test_captions_use_only_letters_the_font_has() -> None:
    """Accents go, other scripts become one ellipsis, and plain text stays as it is."""
    assert _drawable("a red fox, 42!") == "a red fox, 42!"
    assert _drawable("Größe, naïve café") == "Grosse, naive cafe"
    assert _drawable("雪地里的红狐狸, 水彩画") == "…"
    assert _drawable("a 🦊 fox") == "a … fox"


def test_shortened_text_fits() -> None:
    """Text that fits is untouched; else it ends in an ellipsis and fits."""
    font = ImageFont.load_default(12)
    assert _shortened("fox", font, 96) == "fox"
    short = _shortened(LONG, font, 96)
    assert short.endswith("…")
    assert LONG.startswith(short[:-1])
    assert font.getlength(short) <= 96
