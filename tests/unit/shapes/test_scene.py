"""Scenes: seeded, on the grid, inside the picture, and their objects apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from janus_edge.shapes.scene import (
    CLEAR,
    COLOURS,
    DIRECTIONS,
    GRID,
    MOST_ITEMS,
    RADII,
    RELATIONS,
    SHAPES,
    SIZE,
    TONES,
    Item,
    Scene,
    place,
    random_scene,
    related,
)

COUNT = 150


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(11)
    return [random_scene(rng) for _ in range(COUNT)]


def test_equal_seeds_make_equal_scenes(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(11)
    assert [random_scene(rng) for _ in range(COUNT)] == scenes
    other = np.random.default_rng(12)
    assert [random_scene(other) for _ in range(10)] != scenes[:10]


def test_objects_stay_in_the_picture_and_on_the_grid(scenes: list[Scene]) -> None:
    for item in (item for scene in scenes for item in scene.items):
        for centre in (item.x, item.y):
            assert centre - item.radius > 0
            assert centre + item.radius < SIZE
            assert centre % GRID == 0


def test_squares_around_objects_never_touch(scenes: list[Scene]) -> None:
    for a, b in (pair for scene in scenes for pair in combinations(scene.items, 2)):
        assert max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius + b.radius


def test_scenes_have_everything_there_is(scenes: list[Scene]) -> None:
    items = [item for scene in scenes for item in scene.items]
    assert {item.shape for item in items} == set(SHAPES)
    assert {item.colour for item in items} == set(COLOURS)
    assert {item.radius for item in items} == set(RADII.values())
    assert {len(scene.items) for scene in scenes} == set(range(1, MOST_ITEMS + 1))
    grounds = [scene.background for scene in scenes]
    assert {ground.tone for ground in grounds} == set(TONES)
    assert {ground.direction for ground in grounds} == {None, *DIRECTIONS}


def test_a_gradient_has_both_a_direction_and_another_tone(scenes: list[Scene]) -> None:
    for ground in (scene.background for scene in scenes):
        assert (ground.end is None) == (ground.direction is None)
        assert ground.end != ground.tone


@pytest.mark.parametrize(("name", "radius"), RADII.items())
def test_a_size_is_the_name_of_a_radius(name: str, radius: int) -> None:
    assert Item("circle", "red", 32, 32, radius).size == name


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_holds_one_way_and_from_a_clear_distance_on(relation: str) -> None:
    dx, dy = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}[relation]
    assert related(relation, CLEAR * dx, CLEAR * dy)
    assert not related(relation, (CLEAR - 1) * dx, (CLEAR - 1) * dy)
    assert not related(relation, -CLEAR * dx, -CLEAR * dy)
    assert not related(relation, CLEAR * dy, CLEAR * dx), "the other axis does not matter"
    assert related(relation, 3 * dx, 3 * dy, clear=3)


def test_objects_are_placed_in_order_until_they_are_accepted() -> None:
    rng = np.random.default_rng(0)
    looks = [("ring", "red"), ("star", "blue")]
    items = place(looks, rng, lambda items: items[0].x < items[1].x)
    assert [(item.shape, item.colour) for item in items] == looks
    assert items[0].x < items[1].x


@pytest.mark.parametrize("count", [0, MOST_ITEMS + 1])
def test_too_many_or_no_objects_cannot_be_placed(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} objects; a scene has 1 to {MOST_ITEMS}"):
        place([("circle", "red")] * count, np.random.default_rng(0))
