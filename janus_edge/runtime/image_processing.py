"""Pictures in and out: files and PIL images to pixel tensors, and pixel tensors to PIL images.

The rule is the original's (deepseek-ai/Janus, ``janus/models/image_processing_vlm.py``) to the
last bit. The vision encoder and the VQ encoder take the same tensor. What :func:`load_image` does
beyond the original's ``Image.open(path).convert("RGB")``: it turns a picture by its EXIF
orientation (a telephone's picture would lie on its side), and it scales 16-bit greys down (PIL
clips them to white).
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from janus_edge.errors import BackendError, InputError

#: Side of the square's empty part, grey: ``int(0.5 * 255)`` of the original's mean.
BACKGROUND = (127, 127, 127)

#: A very long picture is made at least this thick (``min_size`` of the original).
MIN_SIDE = 14

#: The EXIF orientation -> what sets the picture upright. Not ``ImageOps.exif_transpose``, which
#: writes the EXIF block anew and fails on blocks that a camera wrote badly.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

#: What PIL's decoders were seen to raise on damaged files of 19 formats, and related types.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)
#: The warning is raised where the caller turned warnings into errors.
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def load_image(source: str | Path | Image.Image) -> Image.Image:
    """A picture as RGB, upright, from a file or a PIL image of any mode (its first frame).

    The EXIF orientation is applied. 16-bit greys (modes ``I;16`` and ``I``, where an ``I`` picture
    is taken to hold 0..65535) are scaled to 8 bits. Alpha is dropped, as in the original. A PIL
    image that is given is not changed. Raises InputError for a file that is missing, a folder, not
    an image, damaged, or so large that PIL takes it for a decompression bomb, and for an image
    without pixels.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the image given")
    if not isinstance(source, (str, Path)):
        raise InputError(f"an image is a path or a PIL image, found {type(source).__name__}")
    name = str(source)
    try:
        with Image.open(source) as opened:
            return _upright_rgb(opened, name)
    except FileNotFoundError as missing:
        raise InputError(f"{name}: no such image file") from missing
    except IsADirectoryError as folder:
        raise InputError(f"{name}: is a folder; give the path of an image file") from folder
    except PermissionError as denied:
        raise InputError(f"{name}: may not be read ({denied.strerror})") from denied
    except UnidentifiedImageError as unknown:
        raise InputError(
            f"{name}: not an image in a format that PIL can read; convert it to PNG or JPEG"
        ) from unknown
    except _BOMB as bomb:
        raise _too_large(name) from bomb
    except _DAMAGE as damage:
        raise InputError(f"{name}: cannot be opened as an image ({damage})") from damage


def preprocess(images: Sequence[Image.Image], size: int) -> NDArray[np.float32]:
    """RGB images -> pixel values [N, 3, size, size] float32 in [-1, 1].

    The longer side becomes ``size`` and the shorter follows in proportion, truncated, but is at
    least ``MIN_SIDE`` pixels (or ``size``, in a miniature model that is smaller still); PIL's
    bicubic; pasted in the middle of a grey square; mean and standard deviation 0.5. Raises
    InputError for an image that is not RGB (see :func:`load_image`) or an empty list.
    """
    if not images:
        raise InputError("no image given; at least one is needed")
    pixels = np.empty((len(images), 3, size, size), np.float32)
    for row, image in zip(pixels, images, strict=True):
        if image.mode != "RGB":
            raise InputError(f"an image has mode {image.mode}; open it with load_image to get RGB")
        row[...] = _LEVELS[np.asarray(_square(image, size))].transpose(2, 0, 1)
    return pixels


def to_image(pixel_values: NDArray[np.floating]) -> Image.Image:
    """Pixel values [3, H, W], nominally in [-1, 1] -> RGB image of W x H pixels.

    ``clip((x + 1) / 2 * 255, 0, 255)`` in float32, truncated to uint8 (the original's
    ``generation_inference.py``). Raises InputError for another shape and BackendError for values
    that are not finite, which are a decoder's overflow and no picture.
    """
    values = np.asarray(pixel_values, np.float32)
    if values.ndim != 3 or values.shape[0] != 3:
        raise InputError(f"pixel values must be [3, height, width], found {list(values.shape)}")
    if not np.isfinite(values).all():
        raise BackendError(
            "the decoded picture has pixels that are not finite, as when float16 overflows in the "
            "VQ decoder; use a bundle that keeps vq_decoder in float32 or bfloat16"
        )
    levels = np.clip((values + 1) / 2 * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def _levels() -> NDArray[np.float32]:
    """The 256 pixel values, by the original's operations in their dtypes and order.

    ``transformers`` rescales in float64, rounds to float32, and normalises in float32.
    """
    scaled = (np.arange(256) * (1.0 / 255.0)).astype(np.float32)
    return ((scaled - np.float32(0.5)) / np.float32(0.5)).astype(np.float32)


_LEVELS = _levels()


def _square(image: Image.Image, size: int) -> Image.Image:
    longest = max(image.size)
    least = min(MIN_SIDE, size)
    # `/` before `*`, then truncation: rounding (as transformers does) gives other sizes
    width, height = (max(int(side / longest * size), least) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    if width == height:
        return resized
    square = Image.new("RGB", (size, size), BACKGROUND)
    square.paste(resized, ((size - width) // 2, (size - height) // 2))
    return square


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    if min(image.size) < 1:
        raise InputError(f"{name}: has no pixels ({image.width} x {image.height})")
    try:
        image.load()
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
        upright = _rgb(image if turn is None else image.transpose(turn))
        upright.info.clear()  # or a second load_image would find the orientation and turn it again
        return upright
    except _BOMB as bomb:
        raise _too_large(name) from bomb
    except _DAMAGE as damage:
        raise InputError(f"{name}: damaged or incomplete image ({damage})") from damage


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        greys = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray(((greys + 128) // 257).astype(np.uint8))
    with warnings.catch_warnings():
        # PIL's advice about palettes with alpha; the original drops the alpha all the same
        warnings.filterwarnings("ignore", "Palette images with Transparency", UserWarning)
        return image.convert("RGB")


def _too_large(name: str) -> InputError:
    return InputError(
        f"{name}: too many pixels to decode safely (the limit is PIL.Image.MAX_IMAGE_PIXELS, "
        f"{Image.MAX_IMAGE_PIXELS}); make the picture smaller"
    )
