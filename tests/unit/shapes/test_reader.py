"""The reader: reads what was drawn, and takes nothing malformed for an object."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from janus_edge.errors import InputError
from janus_edge.shapes.drawing import coverage, draw, ground
from janus_edge.shapes.reader import SPECK, Reading, read
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

Picture = NDArray[np.uint8]
GREY = Background("grey")
PLAIN = tuple(Background(tone) for tone in TONES)
GRADED = tuple(
    Background(tone, end, direction)
    for tone, end in (("white", "black"), ("black", "beige"), ("grey", "white"), ("beige", "grey"))
    for direction in DIRECTIONS
)


def rounded(pixels: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def blurred(picture: Picture, sigma: float) -> Picture:
    return rounded(ndimage.gaussian_filter(picture.astype(float), (sigma, sigma, 0)))


def noisy(picture: Picture, sigma: float) -> Picture:
    return rounded(picture + np.random.default_rng(8).normal(0, sigma, picture.shape))


def with_mask(mask: NDArray[np.float32], colour: tuple[float, ...], x: int, y: int) -> Picture:
    """A form of any mask [2R, 2R] on grey."""
    picture = ground(GREY)
    reach = len(mask) // 2
    part = picture[y - reach : y + reach, x - reach : x + reach]
    part += mask[..., None] * (np.array(colour, np.float32) - part)
    return rounded(picture)


def assert_shows(reading: Reading, items: tuple[Item, ...]) -> None:
    assert reading.unclear == 0
    assert len(reading.items) == len(items)
    for item in items:
        near = [s for s in reading.items if np.hypot(s.x - item.x, s.y - item.y) <= 1.5]
        assert [(s.shape, s.colour) for s in near] == [(item.shape, item.colour)]
        assert abs(near[0].radius - item.radius) <= 1
        assert 0.9 < near[0].fit <= 1


@pytest.mark.parametrize("background", [*PLAIN, *GRADED], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_in_every_colour(shape: str, background: Background) -> None:
    radii = list(RADII.values())
    colours = list(COLOURS) if background.end is None else ["yellow", "purple"]
    for i, colour in enumerate(colours):
        item = Item(shape, colour, 20 + 2 * i, 44 - 2 * i, radii[i % 3])
        assert_shows(read(draw(Scene((item,), background))), (item,))


@pytest.mark.parametrize("seed", range(8))
def test_scenes_are_read_clean_noisy_and_blurred(seed: int) -> None:
    scene = random_scene(np.random.default_rng(seed))
    picture = draw(scene)
    darker = rounded(picture.astype(float) + np.array([-9, 8, -7]))
    for shown in (
        picture,
        noisy(picture, 8),
        blurred(picture, 1.2),
        noisy(blurred(darker, 0.8), 5),
    ):
        assert_shows(read(shown), scene.items)


@pytest.mark.parametrize("background", [*PLAIN, *GRADED], ids=str)
def test_an_empty_picture_shows_nothing(background: Background) -> None:
    assert read(rounded(ground(background))) == Reading((), 0)
    assert read(noisy(rounded(ground(background)), 8)) == Reading((), 0)


def test_neighbours_two_pixels_apart_are_two_objects() -> None:
    """However much stronger the contrast of one is."""
    items = (Item("square", "blue", 20, 32, 10), Item("square", "purple", 42, 32, 10))
    for tone in ("grey", "black"):
        picture = draw(Scene(items, Background(tone)))
        assert_shows(read(picture), items)
        assert_shows(read(blurred(picture, 1.2)), items)


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("shape", SHAPES)
def test_half_an_object_is_none(shape: str, side: int) -> None:
    mask = coverage(shape, 10).copy()
    np.rot90(mask, side)[:10] = 0
    assert read(with_mask(mask, COLOURS["blue"], 32, 32)) == Reading((), 1)
    assert read(blurred(with_mask(mask, COLOURS["blue"], 32, 32), 0.8)) == Reading((), 1)


@pytest.mark.parametrize("colours", [("blue", "purple"), ("red", "cyan"), ("orange", "yellow")])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_of_two_colours_is_none(shape: str, colours: tuple[str, str]) -> None:
    items = [Item(shape, colour, 32, 32, 10) for colour in colours]
    picture, other = (draw(Scene((item,), GREY)) for item in items)
    picture[:, 32:] = other[:, 32:]
    for shown in (picture, noisy(blurred(picture, 0.8), 5)):
        reading = read(shown)
        assert not reading.items
        assert reading.unclear


@pytest.mark.parametrize(
    "colours", [("blue", "purple"), ("red", "orange"), ("orange", "yellow"), ("green", "cyan")]
)
def test_a_colour_between_two_of_the_palette_is_none(colours: tuple[str, str]) -> None:
    """Even where the two are closest to each other."""
    mixture = np.mean([COLOURS[colour] for colour in colours], axis=0)
    assert read(with_mask(coverage("circle", 10), tuple(mixture), 32, 32)) == Reading((), 1)


@pytest.mark.parametrize("colour", [(128, 90, 40), (20, 20, 20), (245, 245, 245), (90, 120, 20)])
def test_a_colour_that_is_not_in_the_palette_is_none(colour: tuple[int, int, int]) -> None:
    assert read(with_mask(coverage("square", 10), colour, 32, 32)) == Reading((), 1)


@pytest.mark.parametrize(
    "shapes", [("circle", "square"), ("circle", "ring"), ("star", "cross"), ("triangle", "square")]
)
def test_a_shape_between_two_is_unclear(shapes: tuple[str, str]) -> None:
    mask = (coverage(shapes[0], 10) + coverage(shapes[1], 10)) / 2
    assert read(with_mask(mask, COLOURS["red"], 32, 32)).unclear


@pytest.mark.parametrize("colours", [("red", "red"), ("red", "blue"), ("purple", "yellow")])
@pytest.mark.parametrize("shift", [(6, 0), (0, 9), (8, 8)])
def test_objects_that_overlap_are_unclear(shift: tuple[int, int], colours: tuple[str, str]) -> None:
    first = Item("circle", colours[0], 28, 28, 10)
    second = Item("square", colours[1], 28 + shift[0], 28 + shift[1], 10)
    assert read(draw(Scene((first, second), GREY))).unclear


def test_an_object_cut_by_the_edge_of_the_picture_is_none() -> None:
    whole = draw(Scene((Item("circle", "green", 32, 32, 10),), Background("white")))
    cut = np.roll(whole, -32, axis=1)
    cut[:, 32:] = TONES["white"]
    assert read(cut) == Reading((), 1)


@pytest.mark.parametrize("radius", [4, 5, 15, 20])
def test_an_object_of_no_size_of_the_world_is_none(radius: int) -> None:
    assert read(with_mask(coverage("circle", radius), COLOURS["red"], 32, 32)) == Reading((), 1)


def test_a_dent_or_a_stain_in_an_object_is_seen() -> None:
    item = Item("square", "blue", 32, 32, 12)
    for colour in (TONES["grey"], COLOURS["red"]):
        picture = draw(Scene((item,), GREY))
        picture[28:33, 24:29] = colour
        assert read(picture).unclear


def test_specks_are_ignored_up_to_their_size() -> None:
    item = Item("star", "red", 40, 40, 10)
    picture = draw(Scene((item,), GREY))
    picture[10, 10 : 10 + SPECK - 1] = COLOURS["blue"]
    assert_shows(read(picture), (item,))
    picture[10, 10 : 10 + SPECK] = COLOURS["blue"]
    assert read(picture).unclear == 1


def test_static_is_unclear_and_not_empty() -> None:
    static = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    reading = read(static)
    assert not reading.items
    assert reading.unclear


def test_what_is_clear_is_read_beside_what_is_not() -> None:
    item = Item("ring", "cyan", 16, 16, 8)
    picture = draw(Scene((item, replace(item, shape="circle", x=44, y=44)), GREY))
    picture[44:] = TONES["grey"]
    reading = read(picture)
    assert_shows(replace(reading, unclear=0), (item,))
    assert reading.unclear == 1


@pytest.mark.parametrize(
    "picture",
    [np.zeros((32, 32, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3))],
    ids=["small", "grey", "float64"],
)
def test_another_kind_of_picture_is_refused_with_what_to_give(picture: Picture) -> None:
    said = (
        f"shape {picture.shape} and type {picture.dtype} cannot be read: give RGB pixels as uint8"
    )
    with pytest.raises(InputError, match=re.escape(said)):
        read(picture)
