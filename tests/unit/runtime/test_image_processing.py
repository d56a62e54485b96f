"""Pictures in and out, held to the original's rule bit by bit."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus_edge.errors import BackendError, InputError
from janus_edge.runtime.image_processing import load_image, preprocess, to_image

SIZES = [(1, 1), (2000, 10), (10, 2000), (384, 384), (500, 333), (333, 500), (17, 400), (40, 40)]


def noise_image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(width * 10007 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def original_rule(image: Image.Image, size: int) -> np.ndarray:
    """The original's steps for one RGB image, each in the dtype in which it takes it."""
    width, height = image.size
    longest = max(width, height)
    new_height = max(int(height / longest * size), 14)
    new_width = max(int(width / longest * size), 14)
    image = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
    if new_width > new_height:
        square = Image.new("RGB", (new_width, new_width), (127, 127, 127))
        square.paste(image, (0, (new_width - new_height) // 2))
    elif new_height > new_width:
        square = Image.new("RGB", (new_height, new_height), (127, 127, 127))
        square.paste(image, ((new_height - new_width) // 2, 0))
    else:
        square = image
    scaled = (np.array(square).astype(np.float64) * 0.00392156862745098).astype(np.float32)
    mean = std = np.array([0.5, 0.5, 0.5], np.float32)
    return ((scaled - mean) / std).transpose(2, 0, 1)


@pytest.mark.parametrize("extent", SIZES, ids=str)
@pytest.mark.parametrize("size", [384, 32])
def test_preprocess_is_the_originals_rule(extent: tuple[int, int], size: int) -> None:
    """Pixel values equal the original's, bit for bit, at any aspect ratio."""
    image = noise_image(*extent)
    pixels = preprocess([image], size)
    assert pixels.dtype == np.float32
    assert pixels.shape == (1, 3, size, size)
    np.testing.assert_array_equal(pixels[0], original_rule(image, size))


def test_preprocess_truncates_where_transformers_rounds() -> None:
    """500 x 333 becomes 384 x 255 (255.74 truncated): the 256th row is already background."""
    pixels = preprocess([Image.new("RGB", (500, 333), (255, 0, 0))], 384)[0, 0]
    assert (pixels[:, 0] == 1).sum() == 255
    assert (pixels == 1).any(axis=1).sum() == 255


@pytest.mark.parametrize("extent", [(400, 300), (300, 400), (768, 512), (384, 96), (9, 2000)])
def test_preprocess_equals_transformers_where_int_and_round_agree(
    extent: tuple[int, int],
) -> None:
    """At sizes that truncation and rounding agree on, transformers' processor gives the same."""
    module = pytest.importorskip("transformers.models.janus.image_processing_pil_janus")
    half = [0.5, 0.5, 0.5]
    processor = module.JanusImageProcessorPil(image_mean=half, image_std=half)
    image = noise_image(*extent)
    theirs = processor(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(preprocess([image], 384)[0], theirs)


def test_preprocess_keeps_order_and_rows_apart() -> None:
    """Row n of a batch is what image n gives alone."""
    images = [noise_image(30, 20), noise_image(20, 30), noise_image(7, 7)]
    batch = preprocess(images, 48)
    for row, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(row, preprocess([image], 48)[0])


def test_preprocess_fits_a_miniature_below_the_floor() -> None:
    """The result is size x size even if size is below the floor of 14 pixels."""
    assert preprocess([noise_image(40, 3)], 8).shape == (1, 3, 8, 8)


def test_preprocess_refuses_what_is_not_rgb() -> None:
    """A grey image or no image at all is an InputError, not a wrong tensor."""
    with pytest.raises(InputError, match="mode L"):
        preprocess([Image.new("L", (4, 4))], 16)
    with pytest.raises(InputError, match="no image"):
        preprocess([], 16)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "F", "RGBX"])
def test_load_image_converts_as_the_original(mode: str) -> None:
    """Any mode becomes RGB by PIL's conversion, and the given image stays as it was."""
    source = noise_image(9, 5).convert("L").convert("LA") if mode == "LA" else noise_image(9, 5)
    source = source.convert(mode)
    loaded = load_image(source)
    assert (loaded.mode, source.mode) == ("RGB", mode)
    np.testing.assert_array_equal(np.array(loaded), np.array(source.convert("RGB")))


def test_load_image_drops_alpha() -> None:
    """A transparent pixel keeps its colour, as in the original, and is not blended."""
    assert load_image(Image.new("RGBA", (2, 2), (10, 20, 30, 0))).getpixel((0, 0)) == (10, 20, 30)


def test_load_image_takes_a_palette_with_alpha_without_a_warning(tmp_path: Path) -> None:
    """A PNG palette with transparency gives its colours, and PIL's advice stays inside."""
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "palette.png", transparency=bytes([255, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(tmp_path / "palette.png").getpixel((2, 1)) == (200, 100, 50)


@pytest.mark.parametrize(
    ("name", "mode"), [("grey.png", "I;16"), ("grey.tiff", "I;16"), ("g.pgm", "I")]
)
def test_load_image_scales_sixteen_bits(tmp_path: Path, name: str, mode: str) -> None:
    """0..65535 becomes 0..255 in proportion, where PIL alone would clip nearly all to white."""
    levels = np.array([[0, 256, 257, 32768, 65279, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        assert opened.mode == mode
    loaded = np.array(load_image(tmp_path / name))
    np.testing.assert_array_equal(loaded[0, :, 0], [0, 1, 1, 128, 254, 255])


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_load_image_sets_upright_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Every EXIF orientation ends with red at the top left and blue at the right, in any format,
    and loading the result again does not turn it again."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16, 0] = 255
    upright[:, 16:, 2] = 255
    stored = {  # how a camera held that way stores the picture (EXIF 2.3, tag 0x0112)
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
    loaded = load_image(path)
    assert loaded.size == (32, 16)
    close = np.abs(np.array(loaded).astype(int) - upright.astype(int))
    assert close.mean() < 6  # JPEG and WebP are lossy
    assert load_image(loaded).size == (32, 16)
    np.testing.assert_array_equal(np.array(load_image(loaded)), np.array(loaded))


def test_load_image_says_what_is_wrong(tmp_path: Path) -> None:
    """Each unusable source is an InputError that names the file and the reason."""
    text = tmp_path / "notes.png"
    text.write_text("not a picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    cases = [
        (tmp_path / "absent.png", "no such image"),
        (tmp_path, "is a folder"),
        (text, "not an image"),
        (empty, "not an image"),
        (str(tmp_path / "nul\0.png"), "cannot be opened"),
        (Image.new("RGB", (0, 5)), "no pixels"),
        (b"bytes", "found bytes"),
    ]
    for source, message in cases:
        with pytest.raises(InputError, match=message) as error:
            load_image(source)  # type: ignore[arg-type]
        if isinstance(source, (str, Path)):
            assert str(source) in str(error.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_load_image_refuses_truncated_files(tmp_path: Path, suffix: str) -> None:
    """A file cut in the middle is an InputError, not a half-grey picture."""
    path = tmp_path / f"cut.{suffix}"
    noise_image(64, 64).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cut\."):
        load_image(path)


def test_load_image_refuses_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL's guard against decompression bombs arrives as an InputError."""
    path = tmp_path / "bomb.png"
    noise_image(40, 40).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="too many pixels"):
        load_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's remarks on damaged metadata
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "avif", "jp2"])
def test_damaged_files_load_or_are_input_errors(tmp_path: Path, suffix: str) -> None:
    """Flipped bytes never end in another exception than InputError."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    noise_image(24, 20).save(buffer, Image.registered_extensions()[f".{suffix}"], exif=exif)
    chance = random.Random(7)
    for _ in range(60):
        damaged = bytearray(buffer.getvalue())
        for _ in range(chance.randint(1, 5)):
            damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert load_image(path).mode == "RGB"


def test_to_image_truncates() -> None:
    """(x + 1) / 2 * 255 is clipped to 0..255 and truncated, not rounded."""
    values = np.array([-9, -1, -0.5, 0, 0.5, 0.999, 1, 9], np.float32)
    image = to_image(np.broadcast_to(values, (3, 1, 8)))
    assert image.mode == "RGB"
    assert image.size == (8, 1)
    assert np.array(image)[0, :, 1].tolist() == [0, 0, 63, 127, 191, 254, 255, 255]


def test_to_image_keeps_channels_rows_and_columns() -> None:
    """[3, H, W] becomes W x H with red first; float16 is computed in float32."""
    values = np.full((3, 2, 5), -1, np.float16)
    values[0, 1, 4] = 1
    image = to_image(values)
    assert image.size == (5, 2)
    assert image.getpixel((4, 1)) == (255, 0, 0)
    assert image.getpixel((0, 0)) == (0, 0, 0)


def test_to_image_nearly_inverts_preprocess() -> None:
    """A square picture of the model's size comes back within one level (truncation)."""
    image = noise_image(32, 32)
    back = np.array(to_image(preprocess([image], 32)[0])).astype(int)
    assert np.abs(back - np.array(image)).max() <= 1


def test_to_image_refuses_what_is_no_picture() -> None:
    """A wrong shape is an InputError; an overflown decoder is a BackendError."""
    with pytest.raises(InputError, match=r"\[2, 4, 4\]"):
        to_image(np.zeros((2, 4, 4), np.float32))
    with pytest.raises(BackendError, match="not finite"):
        to_image(np.full((3, 4, 4), np.nan, np.float32))
