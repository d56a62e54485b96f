"""Reading a picture back: which shapes it shows, in which colours, where and how large.

A picture judged here may come from a model, so what is not clearly an object of this world counts
as ``unclear``: half a circle, two shapes in one, a smear of two colours, a colour that is not in
the palette. The steps are those of classical image analysis:

1. The background is a plane per channel, fitted to the border first and then to all that agrees.
2. What differs from it falls into blobs (connected components).
3. A blob's soft mask is its pixels' share of the way from the background to the blob's colour.
   It is compared with all shapes at all radii, half-pixel centres and blurs (``_bank``).
4. The colour is the one that, drawn with that template, comes closest to the pixels; it is looked
   up among ``COLOURS`` in CIE Lab.
5. What the object so drawn leaves unexplained must be small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from janus_edge.errors import InputError
from janus_edge.shapes.drawing import coverage
from janus_edge.shapes.scene import COLOURS, SHAPES, SIZE

_Floats = NDArray[np.float32]

#: Least distance of a pixel from the background, RGB; fainter things are not seen. Palette colours
#: are at least 90 from every tone and gradient, a small blurred ring keeps 0.85 of that, and its
#: edge is at ``_EDGE``.
CONTRAST = 36.0
#: Blobs of fewer pixels are specks and are ignored; the smallest star has 65.
SPECK = 12
#: Least and largest radius; sizes are 7, 9 and 11. The upper half of a triangle of 11 is one of 6.
SMALLEST, LARGEST = 6.5, 12.0
#: Least ``Seen.fit``. Half an object reaches 0.86 (but for half a triangle, which is one), an
#: object whose outline wobbles by half a pixel 0.92.
FIT = 0.88
#: The second-best shape must fall short by so many times more: a form half way between two shapes
#: falls short of both by the same, an object with a wobbly outline of the others by twice as much.
DISTINCT = 1.8
#: Largest distance in CIE Lab from a palette colour. A shift of 10 in each channel is up to 13.
COLOUR_REACH = 20.0
#: Largest share of the distance from the second-nearest colour. A shift of 10 in each channel
#: gives up to 0.40, an even mixture of the two at least 0.63.
COLOUR_SHARE = 0.5
#: Distance in RGB, averaged over 3 x 3 pixels, from which a pixel is not as the object would have
#: it. The mean of orange and yellow is 45 from both; noise with sigma 8 stays below 15.
UNEXPLAINED = 30.0

_RADII = np.arange(5.5, 12.6, 0.5)
_BLURS = (0.0, 0.8, 1.3)  # sigma in pixels
_PATCH = 28  # pixels: twice the largest radius, and room for a blurred edge
_SHIFTS = (3, 3)  # places of a template in a blob's window, a pixel apart
_REACH = (_PATCH + _SHIFTS[0] - 1) // 2  # half of the window
_EDGE = 0.6  # share of the nearby contrast that a blob's pixels have
_AROUND = 2.3  # pixels around a blob in which its blurred edge ends
_SQUARE = np.ones((3, 3), bool)
# linear sRGB to XYZ (IEC 61966-2-1)
_X_ROW, _Y_ROW = (0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750)
_XYZ = np.array([_X_ROW, _Y_ROW, (0.0193339, 0.1191920, 0.9503041)], np.float32)
_Y, _X = np.mgrid[:SIZE, :SIZE].astype(np.float32)
_PLANE = np.stack([np.ones_like(_X), _X / SIZE, _Y / SIZE], -1)  # [64, 64, 3]
_BORDER = np.minimum(np.minimum(_X, _Y), SIZE - 1 - np.maximum(_X, _Y)) < 2  # no object is there


@dataclass(frozen=True)
class Seen:
    """An object in a picture; ``x``, ``y`` and ``radius`` in pixels as in ``scene.Item``.

    ``fit`` is the soft IoU with the template, 0 to 1: the squared cosine between the two masks,
    which is <a, t> / (|a|^2 + |t|^2 - <a, t>) with the blob's contrast scaled to fit best.
    """

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    fit: float


@dataclass(frozen=True)
class Reading:
    """What a picture shows, and how many blobs are something but none of the objects."""

    items: tuple[Seen, ...]
    unclear: int


@dataclass(frozen=True)
class _Blob:
    """A window [30, 30] around something that is not background, centred at (x, y)."""

    pixels: _Floats  # [30, 30, 3]
    ground: _Floats  # [30, 30, 3]
    inside: NDArray[np.bool_]
    around: NDArray[np.bool_]  # up to 2 pixels away, where no other blob is nearer
    y: int
    x: int
    whole: bool  # whether the window holds all of it


@dataclass(frozen=True)
class _Match:
    shape: str
    radius: float
    dx: float  # from the window's centre
    dy: float
    fit: float
    rival: float  # the fit of the best other shape
    mask: _Floats  # the template in its place [30, 30]


def read(picture: NDArray[np.uint8]) -> Reading:
    """What ``picture`` (uint8 [64, 64, 3], RGB) shows, from top to bottom.

    Raises InputError for any other shape or dtype.
    """
    if picture.shape != (SIZE, SIZE, 3) or picture.dtype != np.uint8:
        raise InputError(
            f"a picture of shape {picture.shape} and type {picture.dtype} cannot be read: "
            f"give RGB pixels as uint8 [{SIZE}, {SIZE}, 3]"
        )
    pixels = picture.astype(np.float32)
    blobs = list(_blobs(pixels, _ground(pixels)))
    items = tuple(seen for seen in map(_recognise, blobs) if seen)
    return Reading(items, len(blobs) - len(items))


def _ground(pixels: _Floats) -> _Floats:
    """The background [64, 64, 3] as a plane per channel: objects keep off the border."""
    border, points = pixels[_BORDER], _PLANE[_BORDER]
    ground = points @ _plane(border, points)
    for _ in range(3):
        off = _length(border - ground)
        # most of the border is background, however wrong the first fit was
        near = off <= max(CONTRAST, float(np.median(off)))
        ground = points @ (factors := _plane(border[near], points[near]))
    near = _length(pixels - _PLANE @ factors) < CONTRAST / 2
    if near.sum() > SIZE:  # else the border has too many colours for a plane
        factors = _plane(pixels[near], _PLANE[near])
    return _PLANE @ factors


def _plane(colours: _Floats, points: _Floats) -> _Floats:
    """The least squares factors [3, 3] of ``points @ factors = colours``, both [n, 3]."""
    return np.linalg.solve(points.T @ points, points.T @ colours).astype(np.float32)


def _blobs(pixels: _Floats, ground: _Floats) -> Iterator[_Blob]:
    """What differs from the background, from top to bottom.

    A pixel belongs to a blob if it has half of the strongest contrast within two pixels: objects
    two pixels apart stay apart, however strong their contrast is.
    """
    off = _length(pixels - ground)
    labels, count = ndimage.label(
        off > np.maximum(CONTRAST, _EDGE * ndimage.maximum_filter(off, 5))
    )
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    labels[(sizes < SPECK)[labels]] = 0
    away, (y, x) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    around = np.where(away <= _AROUND, labels[y, x], 0)
    frame = ((_REACH, _REACH), (_REACH, _REACH))
    pixels, ground = (np.pad(a, (*frame, (0, 0)), "edge") for a in (pixels, ground))
    inside, around = np.pad(labels, frame), np.pad(around, frame)
    for i, box in enumerate(ndimage.find_objects(labels), start=1):
        if box:
            y, x = ((side.start + side.stop) // 2 for side in box)
            part = slice(y, y + 2 * _REACH), slice(x, x + 2 * _REACH)
            whole = max(side.stop - side.start for side in box) <= _PATCH
            yield _Blob(
                pixels[part], ground[part], inside[part] == i, around[part] == i, y, x, whole
            )


def _recognise(blob: _Blob) -> Seen | None:
    """The object that a blob is, or None if it is none."""
    if not blob.whole:
        return None
    core = ndimage.binary_erosion(blob.inside, _SQUARE)
    core = core if core.sum() >= SPECK else blob.inside
    contrast = np.where(blob.around[..., None], blob.pixels - blob.ground, 0)
    match = _match(_share(contrast, np.median(blob.pixels[core], axis=0) - blob.ground))
    if not SMALLEST <= match.radius <= LARGEST:
        return None
    if match.fit < FIT or 1 - match.rival < DISTINCT * (1 - match.fit):
        return None
    t = match.mask[..., None]
    # least squares of contrast = t (colour - ground), a channel at a time
    colour = (t * (contrast + t * blob.ground)).sum((0, 1)) / (t**2).sum()
    if _unexplained(contrast, match.mask, colour - blob.ground) >= SPECK:
        return None
    name = _colour_name(colour)
    if name is None:
        return None
    x, y = blob.x + match.dx, blob.y + match.dy
    return Seen(match.shape, name, x, y, match.radius, match.fit)


def _share(contrast: _Floats, full: _Floats) -> _Floats:
    """How far each pixel is on the way to ``full``, both [30, 30, 3]: 0 for the background's."""
    return _dot(contrast, full) / np.maximum(_dot(full, full), 1)


def _unexplained(contrast: _Floats, mask: _Floats, full: _Floats) -> int:
    """The number of pixels that differ from ``mask`` in the colour of ``full`` [30, 30, 3].

    Outlines may be off by a pixel: a share between the least and the largest of the mask among a
    pixel's neighbours is as it should be.
    """
    low, high = ndimage.minimum_filter(mask, 3), ndimage.maximum_filter(mask, 3)
    expected = np.clip(_share(contrast, full), low, high)[..., None] * full
    left = np.where(contrast.any(-1, keepdims=True), contrast - expected, 0)
    return int((_length(ndimage.uniform_filter(left, (3, 3, 0))) > UNEXPLAINED).sum())


def _match(share: _Floats) -> _Match:
    """The template that a soft mask [30, 30] resembles most."""
    masks, rows = _bank()
    patches = sliding_window_view(share, (_PATCH, _PATCH)).reshape(-1, _PATCH**2)
    cosines = np.maximum(rows @ patches.T / np.linalg.norm(share), 0).reshape(len(SHAPES), -1)
    best = cosines.max(1)
    first = int(best.argmax())
    places = (len(_RADII), len(_BLURS), 2, 2, *_SHIFTS)
    r, b, down, right, i, j = np.unravel_index(int(cosines[first].argmax()), places)
    mask = np.zeros_like(share)
    mask[i : i + _PATCH, j : j + _PATCH] = masks[first, r, b, down, right]
    return _Match(
        SHAPES[first],
        float(_RADII[r]),
        j - _SHIFTS[1] // 2 + right / 2,
        i - _SHIFTS[0] // 2 + down / 2,
        float(best[first] ** 2),
        float(np.partition(best, -2)[-2] ** 2),
        mask,
    )


@lru_cache(maxsize=1)
def _bank() -> tuple[_Floats, _Floats]:
    """All templates [shape, radius, blur, half pixel down, half pixel right, 28, 28].

    And the same as rows of unit length [n, 784].
    """
    bank = np.zeros((len(SHAPES), len(_RADII), len(_BLURS), 2, 2, _PATCH, _PATCH), np.float32)
    for s, shape in enumerate(SHAPES):
        for r, radius in enumerate(_RADII):
            exact, fine = coverage(shape, float(radius)), coverage(shape, 2 * float(radius))
            for down, right in np.ndindex(2, 2):
                mask = _placed(exact, _PATCH, 0, 0)
                if down or right:  # from two pixels for one
                    mask = _placed(fine, 2 * _PATCH, down, right)
                    mask = mask.reshape(_PATCH, 2, _PATCH, 2).mean((1, 3))
                for b, blur in enumerate(_BLURS):
                    bank[s, r, b, down, right] = ndimage.gaussian_filter(mask, blur)
    rows = bank.reshape(-1, _PATCH**2)
    return bank, rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _placed(mask: _Floats, side: int, down: int, right: int) -> _Floats:
    """A mask in the middle of an empty square, moved by so many pixels."""
    square = np.zeros((side, side), np.float32)
    y, x = (side // 2 - len(mask) // 2 + move for move in (down, right))
    square[y : y + len(mask), x : x + len(mask)] = mask
    return square


def _colour_name(colour: _Floats) -> str | None:
    """The palette's colour that an RGB colour [3] is clearly meant to be."""
    away = _length(_lab(colour) - _palette())
    first, second = (int(i) for i in np.argsort(away)[:2])
    if away[first] > min(COLOUR_REACH, COLOUR_SHARE * away[second]):
        return None
    return list(COLOURS)[first]


@lru_cache(maxsize=1)
def _palette() -> _Floats:
    return _lab(np.array(list(COLOURS.values()), np.float32))


def _lab(rgb: _Floats) -> _Floats:
    """CIE Lab of sRGB colours [..., 3] from 0 to 255, their white (D65) as the reference."""
    v = np.clip(rgb, 0, 255) / 255
    linear = np.where(v > 0.04045, ((v + 0.055) / 1.055) ** 2.4, v / 12.92)
    xyz = linear @ _XYZ.T / _XYZ.sum(1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1).astype(np.float32)


def _length(vectors: _Floats) -> _Floats:
    """The Euclidean length of vectors [..., n]."""
    return np.sqrt(_dot(vectors, vectors))


def _dot(a: _Floats, b: _Floats) -> _Floats:
    return np.asarray(np.einsum("...i,...i->...", a, b), np.float32)
