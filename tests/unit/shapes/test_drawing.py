"""Drawn scenes: backgrounds, the areas of shapes, and colours where the objects are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_edge.shapes.drawing import coverage, draw, ground
from janus_edge.shapes.scene import (
    COLOURS,
    DIRECTIONS,
    RADII,
    SHAPES,
    SIZE,
    TONES,
    Background,
    Item,
    Scene,
    random_scene,
)

#: Area of a shape of radius 1, from its outline in ``drawing``.
AREAS = {
    "circle": math.pi,
    "square": 1.76**2,
    "triangle": 1.8,
    "star": 10 / 2 * 1.08 * 0.46 * math.sin(math.pi / 5),
    "ring": math.pi * (1 - 0.25),
    "cross": 4 * 0.36 * (2 - 0.36),
}


@pytest.mark.parametrize("tone", TONES)
def test_a_plain_background_is_its_tone_everywhere(tone: str) -> None:
    assert (ground(Background(tone)) == TONES[tone]).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_gradient_goes_evenly_from_its_tone_to_its_end(direction: str) -> None:
    picture = ground(Background("black", "white", direction))
    last = {"right": (0, -1), "bottom": (-1, 0), "bottom right": (-1, -1)}[direction]
    np.testing.assert_allclose(picture[0, 0], TONES["black"])
    np.testing.assert_allclose(picture[last], TONES["white"], rtol=1e-6)
    for axis in (0, 1):
        steps = np.diff(picture, axis=axis)
        assert np.ptp(steps, axis=(0, 1)).max() < 1e-3
        assert (steps >= 0).all()


def test_a_background_drawn_once_is_not_drawn_into() -> None:
    plain = Background("grey")
    ground(plain)[:] = 0
    assert (ground(plain) == TONES["grey"]).all()


@pytest.mark.parametrize("radius", RADII.values())
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_covers_its_area(shape: str, radius: int) -> None:
    mask = coverage(shape, radius)
    assert mask.shape == (2 * radius, 2 * radius)
    assert 0 == mask.min() < mask.max() == 1
    # the outline itself is drawn too, an eighth of a pixel all around
    assert mask.sum() == pytest.approx(AREAS[shape] * radius**2, rel=0.07)


def alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The soft IoU of two masks."""
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


@pytest.mark.parametrize("radius", RADII.values())
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_symmetric_from_left_to_right(shape: str, radius: int) -> None:
    """As far as pixels of a quarter of the size can be: edges are an eighth of a pixel off."""
    mask = coverage(shape, radius)
    assert alike(mask, mask[:, ::-1]) > 0.9


@pytest.mark.parametrize("shape", ["circle", "square", "ring", "cross"])
def test_round_and_square_shapes_are_the_same_from_all_sides(shape: str) -> None:
    mask = coverage(shape, 10)
    assert alike(mask, mask[::-1]) > 0.9
    assert alike(mask, mask.T) > 0.99


@pytest.mark.parametrize("radius", RADII.values())
@pytest.mark.parametrize("shape", ["circle", "square", "ring", "cross"])
def test_the_middle_of_a_shape_is_its_centre(shape: str, radius: int) -> None:
    mask = coverage(shape, radius)
    places = np.arange(2 * radius) + 0.5 - radius
    for sums in (mask.sum(0), mask.sum(1)):
        assert abs((sums * places).sum() / sums.sum()) < 0.2


def test_a_coverage_is_shared_and_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        coverage("circle", 8)[0, 0] = 1


def test_an_unknown_shape_cannot_be_drawn() -> None:
    with pytest.raises(KeyError, match="heart"):
        coverage("heart", 8)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_has_its_colour_and_leaves_the_rest_alone(shape: str, colour: str) -> None:
    item = Item(shape, colour, 24, 36, 10)
    picture = draw(Scene((item,), Background("beige")))
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.uint8
    inside = (36, 24 + 7) if shape == "ring" else (36, 24)
    assert tuple(picture[inside]) == COLOURS[colour]
    if shape == "ring":
        assert tuple(picture[36, 24]) == TONES["beige"], "a ring has a hole"
    picture[26:46, 14:34] = TONES["beige"]
    assert (picture == TONES["beige"]).all()


def test_a_scene_is_drawn_the_same_every_time() -> None:
    scene = random_scene(np.random.default_rng(1))
    np.testing.assert_array_equal(draw(scene), draw(scene))
