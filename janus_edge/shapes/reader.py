"""Reading a picture back: which shapes it shows, in which colours, where and how large.

A picture judged here may come from a model, so what is not clearly an object of this world counts
as ``unclear``: half a circle, two shapes in one, a smear of two colours, a colour that is none.

1. The background is a plane per channel, fitted to the border first and then to all that agrees.
2. What differs from it falls into blobs (connected components).
3. A blob's soft mask, its pixels' share of the way from the background to the blob's colour, is
   compared with all shapes at all radii of about its size, half-pixel centres and blurs.
4. The colour that, drawn with the best template, comes closest to the pixels is looked up among
   ``COLOURS`` in CIE Lab; what the object so drawn leaves unexplained must be small.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from janus_edge.errors import InputError
from janus_edge.shapes.drawing import coverage
from janus_edge.shapes.scene import COLOURS, RADII, SHAPES, SIZE

_Floats = NDArray[np.float32]
_Mask = NDArray[np.bool_]

#: Least distance of a pixel from the background, RGB; fainter things are not seen. Palette colours
#: are at least 90 from every tone and gradient, a blurred ring keeps 0.85 of that.
CONTRAST = 36.0
#: Fewer pixels are ignored, as a blob and as a flaw of an object; the smallest star has 96.
SPECK = 8
#: More pixels than these in specks are unclear; noise with sigma 8 makes about 1.
LITTER = 40
#: Least and largest radius; the upper half of the largest triangle is one too, of 6.3.
SMALLEST, LARGEST = min(RADII.values()) - 1.0, max(RADII.values()) + 1.0
#: Least ``Seen.fit``. Half an object reaches 0.82; of objects that went through the codes of the
#: miniature's VQ model one in 200 is below 0.95.
FIT = 0.93
#: The second-best shape must fall short by so many times more: a form half way between two falls
#: short of both by the same. Of objects through VQ codes one in 200 is below 2.6.
DISTINCT = 2.0
#: Most pixels of an object that belong to another blob. Objects keep apart: they stay below 0.2.
COVERED = 0.7
#: Largest distance in CIE Lab from a palette colour. A shift of 10 in each channel is up to 13.
COLOUR_REACH = 20.0
#: Largest share of the distance from the second-nearest colour. A shift of 10 in each channel
#: gives up to 0.40, an even mixture of the two at least 0.63.
COLOUR_SHARE = 0.5
#: Distance in RGB, averaged over 3 x 3 pixels, from which a pixel is not as the object would have
#: it. The mean of orange and yellow is 45 from both; noise with sigma 8 stays below 15.
UNEXPLAINED = 30.0

_RADII = np.arange(SMALLEST - 1, LARGEST + 0.6, 0.5)
_NEAR = 4  # places in _RADII, both ways, of the radii that are tried for a blob
_BLURS = (0.0, 0.8, 1.3)  # sigma in pixels
_PATCH = 32  # pixels: twice the largest radius, and room for a blurred edge
_SHIFTS = 3  # places of a template in a blob's window, across and down, a pixel apart
_REACH = (_PATCH + _SHIFTS - 1) // 2
_EDGE = 0.6  # share of the nearby contrast that a blob's pixels have
_AROUND = 2.3  # pixels around a blob in which its blurred edge ends
_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
_Y, _X = np.mgrid[:SIZE, :SIZE].astype(np.float32)
_PLANE = np.stack([np.ones(_X.size), _X.ravel() / SIZE, _Y.ravel() / SIZE], -1).astype(np.float32)
_BORDER = np.flatnonzero(np.maximum(abs(2 * _X - SIZE + 1), abs(2 * _Y - SIZE + 1)) > SIZE - 4)


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
    """A window [34, 34] around something that is not background, centred at (x, y)."""

    pixels: _Floats  # [34, 34, 3]
    ground: _Floats  # [34, 34, 3]
    inside: _Mask
    others: _Mask  # the insides of other blobs
    around: _Mask  # up to 2 pixels away, where no other blob is nearer
    y: int
    x: int
    extent: int  # the longer side of its box


@dataclass(frozen=True)
class _Match:
    shape: str
    radius: float
    x: float
    y: float
    fit: float
    rival: float  # the fit of the best other shape
    mask: _Floats  # the template in its place [34, 34]


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
    blobs, litter = _blobs(pixels, _ground(pixels))
    items = tuple(seen for seen in map(_recognise, blobs) if seen)
    return Reading(items, len(blobs) - len(items) + (litter > LITTER))


def _ground(pixels: _Floats) -> _Floats:
    """The background [64, 64, 3] as a plane per channel: objects keep off the border."""
    colours = pixels.reshape(-1, 3)
    border, points = colours[_BORDER], _PLANE[_BORDER]
    near = np.ones(len(border), bool)
    for _ in range(3):
        factors = _plane(border[near], points[near])
        off = _length(border - points @ factors)
        # most of the border is background, however wrong the first fit was
        near = off <= max(CONTRAST, float(np.median(off)))
    agrees = np.flatnonzero(_length(colours - _PLANE @ factors) < CONTRAST / 2)
    if len(agrees) > SIZE:  # else the border has too many colours for a plane
        factors = _plane(colours[agrees], _PLANE[agrees])
    return (_PLANE @ factors).reshape(pixels.shape)


def _plane(colours: _Floats, points: _Floats) -> _Floats:
    """The least squares factors [3, 3] of ``points @ factors = colours``, both [n, 3]."""
    return np.linalg.solve(points.T @ points, points.T @ colours).astype(np.float32)


def _blobs(pixels: _Floats, ground: _Floats) -> tuple[list[_Blob], int]:
    """What differs from the background, from top to bottom, and the number of pixels elsewhere.

    A pixel belongs to a blob if it has most of the strongest contrast within two pixels: objects
    two pixels apart stay apart, however strong their contrast is.
    """
    off, blobs = _length(pixels - ground), []
    edge = np.maximum(CONTRAST, _EDGE * ndimage.maximum_filter(off, 5))
    labels, count = ndimage.label(off > edge)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    labels[(sizes < SPECK)[labels]] = 0
    away, (y, x) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    around = np.where(away <= _AROUND, labels[y, x], 0)
    litter = int((off[around == 0] > CONTRAST).sum())
    frame = ((_REACH, _REACH), (_REACH, _REACH))
    seen = np.pad(np.concatenate([pixels, ground], -1), (*frame, (0, 0)), "edge")
    inside, around = np.pad([labels, around], ((0, 0), *frame))
    for i, box in enumerate(ndimage.find_objects(labels), start=1):
        if box:
            y, x = ((side.start + side.stop) // 2 for side in box)
            part = slice(y, y + 2 * _REACH), slice(x, x + 2 * _REACH)
            extent = max(side.stop - side.start for side in box)
            inner = inside[part]
            masks = inner == i, (inner != i) & (inner > 0), around[part] == i
            blobs.append(_Blob(seen[part][..., :3], seen[part][..., 3:], *masks, y, x, extent))
    return blobs, litter


def _recognise(blob: _Blob) -> Seen | None:
    """The object that a blob is, or None if it is none."""
    if blob.extent > _PATCH:
        return None
    core = ndimage.binary_erosion(blob.inside, np.ones((3, 3)))
    core = core if core.sum() >= SPECK else blob.inside
    contrast = (blob.pixels - blob.ground) * blob.around[..., None]
    middle = np.partition(blob.pixels[core], core.sum() // 2, axis=0)[core.sum() // 2]
    match = _match(_share(contrast, middle - blob.ground), blob)
    if not SMALLEST <= match.radius <= LARGEST or match.fit < FIT:
        return None
    if 1 - match.rival < DISTINCT * (1 - match.fit) or match.mask[blob.others].sum() > COVERED:
        return None
    # least squares of contrast = mask (colour - ground), a channel at a time
    t = match.mask.ravel()
    colour = t @ (contrast + match.mask[..., None] * blob.ground).reshape(-1, 3) / (t @ t)
    if _unexplained(contrast, match.mask, colour - blob.ground) >= SPECK:
        return None
    name = _colour_name(colour)
    return Seen(match.shape, name, match.x, match.y, match.radius, match.fit) if name else None


def _share(contrast: _Floats, full: _Floats) -> _Floats:
    """How far each pixel is on the way to ``full``, both [34, 34, 3]: 0 for the background's."""
    along, whole = (np.einsum("...i,...i->...", v, full) for v in (contrast, full))
    return np.asarray(along / np.maximum(whole, 1), np.float32)


def _unexplained(contrast: _Floats, mask: _Floats, full: _Floats) -> int:
    """The number of pixels [34, 34] that differ from ``mask`` in the colour of ``full``.

    Outlines may be off by a pixel: a share may be any between those of a pixel's neighbours.
    """
    low, high = ndimage.minimum_filter(mask, 3), ndimage.maximum_filter(mask, 3)
    expected = np.clip(_share(contrast, full), low, high)[..., None] * full
    left = ndimage.uniform_filter(contrast - expected, (3, 3, 0))
    return int((_length(left) > UNEXPLAINED).sum())


def _match(share: _Floats, blob: _Blob) -> _Match:
    """The template that a blob's soft mask [34, 34] resembles most."""
    masks, rows = _bank()
    low = np.clip(
        np.searchsorted(_RADII, blob.extent / 2) - _NEAR, 0, len(_RADII) - (2 * _NEAR + 1)
    )
    patches = sliding_window_view(share, (_PATCH, _PATCH)).reshape(-1, _PATCH**2)
    cosines = rows[low : low + (2 * _NEAR + 1)].reshape(-1, _PATCH**2) @ patches.T
    cosines = np.maximum(cosines, 0).reshape((2 * _NEAR + 1), len(SHAPES), -1)
    cosines /= max(float(np.linalg.norm(share)), 1.0)
    best = cosines.max((0, 2))
    first = int(best.argmax())
    places = ((2 * _NEAR + 1), len(_BLURS), 2, 2, _SHIFTS, _SHIFTS)
    r, b, down, right, i, j = np.unravel_index(int(cosines[:, first].argmax()), places)
    mask = np.zeros_like(share)
    mask[i : i + _PATCH, j : j + _PATCH] = masks[low + r, first, b, down, right]
    return _Match(
        SHAPES[first],
        float(_RADII[low + r]),
        float(blob.x + j - _SHIFTS // 2 + right / 2),
        float(blob.y + i - _SHIFTS // 2 + down / 2),
        min(float(best[first] ** 2), 1.0),  # rounding
        float(np.partition(best, -2)[-2] ** 2),
        mask,
    )


@lru_cache(maxsize=1)
def _bank() -> tuple[_Floats, _Floats]:
    """Templates [radius, shape, blur, half a pixel down, right, 32, 32]; as unit rows [r, n, 1024]."""
    bank = np.zeros((len(_RADII), len(SHAPES), len(_BLURS), 2, 2, _PATCH, _PATCH), np.float32)
    for r, s in np.ndindex(bank.shape[:2]):
        radius = float(_RADII[r])
        exact, fine = coverage(SHAPES[s], radius), coverage(SHAPES[s], 2 * radius)
        for down, right in np.ndindex(2, 2):
            mask = _placed(exact, _PATCH, 0, 0)
            if down or right:  # from two pixels for one
                mask = _placed(fine, 2 * _PATCH, down, right)
                mask = mask.reshape(_PATCH, 2, _PATCH, 2).mean((1, 3))
            for b, blur in enumerate(_BLURS):
                bank[r, s, b, down, right] = ndimage.gaussian_filter(mask, blur)
    rows = bank.reshape(len(_RADII), -1, _PATCH**2)
    return bank, rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _placed(mask: _Floats, side: int, down: int, right: int) -> _Floats:
    """A mask in the middle of an empty square, moved by so many pixels."""
    room = (side - len(mask)) // 2
    return np.pad(mask, ((room + down, room - down), (room + right, room - right)))


def _colour_name(colour: _Floats) -> str | None:
    """The palette's colour that an RGB colour [3] is clearly meant to be."""
    away = _length(_lab(colour) - _PALETTE)
    first, second = (int(i) for i in np.argsort(away)[:2])
    clear = away[first] <= min(COLOUR_REACH, COLOUR_SHARE * away[second])
    return list(COLOURS)[first] if clear else None


def _lab(rgb: _Floats) -> _Floats:
    """CIE Lab, of the white D65, of sRGB colours [..., 3]; goes on beyond 0 and 255."""
    v = rgb / 255
    linear = np.where(v > 0.04045, ((np.maximum(v, 0) + 0.055) / 1.055) ** 2.4, v / 12.92)
    xyz = linear @ _XYZ.T / _XYZ.sum(1)  # of sRGB
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1).astype(np.float32)


def _length(vectors: _Floats) -> _Floats:
    """The Euclidean length of vectors [..., n]."""
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", vectors, vectors)), np.float32)


_PALETTE = _lab(np.array(list(COLOURS.values()), np.float32))
