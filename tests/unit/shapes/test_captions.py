"""Captions say nothing that is not so: each is read back with a grammar of its own."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from janus_edge.shapes.captions import caption
from janus_edge.shapes.places import place_of
from janus_edge.shapes.scene import (
    COLOURS,
    RADII,
    SHAPES,
    TONES,
    Background,
    Item,
    Scene,
    random_scene,
)  # fmt: skip
from janus_edge.shapes.words import counted, description, groups, listed, plural

_COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "2": 2, "3": 3, "4": 4}
_NOUNS = {form: shape for shape in SHAPES for form in (shape, plural(shape))}
_PHRASE = re.compile(
    rf"({'|'.join(_COUNTS)}) ((?:{'|'.join(RADII)}) )?((?:{'|'.join(COLOURS)}) )?"
    rf"({'|'.join(sorted(_NOUNS, key=len, reverse=True))})\b",
    re.IGNORECASE,
)
_SIDES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "over": (0, -1),
          "below": (0, 1), "under": (0, 1)}  # fmt: skip


def captions(count: int) -> list[tuple[Scene, str]]:
    scenes = [random_scene(np.random.default_rng([7, i])) for i in range(count)]
    return [(s, caption(s, np.random.default_rng([8, i]))) for i, s in enumerate(scenes)]


def named(text: str) -> list[tuple[int, str | None, str | None, str]]:
    return [
        (_COUNTS[n.lower()], size.strip() or None, colour.strip() or None, _NOUNS[noun.lower()])
        for n, size, colour, noun in _PHRASE.findall(text)
    ]


def test_every_object_is_named_once() -> None:
    """Counts of shapes, and of colours where they are said, are those of the scene."""
    for scene, text in captions(800):
        phrases = named(text)
        shapes: Counter[str] = Counter()
        looks: Counter[tuple[str, str]] = Counter()
        for count, _, colour, shape in phrases:
            shapes[shape] += count
            if colour:
                looks[shape, colour] += count
        assert shapes == Counter(i.shape for i in scene.items), (text, scene)
        if looks:
            assert looks == Counter((i.shape, i.colour) for i in scene.items), (text, scene)


def test_sizes_are_true() -> None:
    said = 0
    for scene, text in captions(800):
        for _, size, colour, shape in named(text):
            if size:
                said += 1
                fitting = [
                    i for i in scene.items if i.shape == shape and colour in (None, i.colour)
                ]
                assert any(i.size == size for i in fitting), (text, scene)
    assert said > 50


def test_relations_and_places_are_true() -> None:
    related = placed = 0
    for scene, text in captions(1500):
        words = re.search(r"\b(left of|right of|above|over|below|under)\b", text)
        if words:
            related += 1
            across, down = _SIDES[words.group(1)]
            (_, _, colour, shape), (_, _, other_colour, other_shape) = named(text)
            a = [i for i in scene.items if i.shape == shape and colour in (None, i.colour)]
            b = [
                i
                for i in scene.items
                if i.shape == other_shape and other_colour in (None, i.colour)
            ]
            assert len(a) == len(b) == 1
            assert across * (a[0].x - b[0].x) + down * (a[0].y - b[0].y) >= 10, (text, scene)
        place = re.search(r" (?:at|in) the ([a-z ]+?)(?: on| with|\.|$)", text)
        if place:
            placed += 1
            (item,) = scene.items
            assert place_of(item.x, item.y) == place.group(1), (text, scene)
    assert related > 100
    assert placed > 20


def test_backgrounds_are_true() -> None:
    said = 0
    for scene, text in captions(400):
        plain = re.search(rf"a ({'|'.join(TONES)}) background", text)
        graded = re.search(r"a background from (\w+) to (\w+)", text)
        back = scene.background
        if plain:
            assert (back.tone, back.end) == (plain.group(1), None)
        if graded:
            assert (back.tone, back.end) == graded.groups()
        said += bool(plain or graded)
    assert said > 50


def test_same_generator_same_caption() -> None:
    assert captions(20) == captions(20)


def test_there_are_many_wordings() -> None:
    """One scene has dozens of captions."""
    scene = Scene(
        (Item("star", "red", 16, 16, 8), Item("ring", "blue", 46, 40, 12)), Background("grey")
    )
    assert len({caption(scene, np.random.default_rng(i)) for i in range(300)}) > 60


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [(10, 10, "top left"), (32, 10, "top"), (50, 10, "top right"), (10, 32, "left"),
     (32, 32, "centre"), (52, 32, "right"), (10, 54, "bottom left"), (32, 54, "bottom"),
     (54, 54, "bottom right"), (20, 32, None), (32, 43, None)],
)  # fmt: skip
def test_places(x: float, y: float, place: str | None) -> None:
    assert place_of(x, y) == place


def test_words() -> None:
    assert counted(1, "star", "orange") == "an orange star"
    assert counted(3, "cross") == "three crosses"
    assert counted(2, "ring", "red", "2") == "2 red rings"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    items = (
        Item("star", "red", 40, 10, 8),
        Item("ring", "blue", 10, 10, 8),
        Item("star", "red", 20, 50, 8),
    )
    assert groups(items) == {("star", "red"): 2, ("ring", "blue"): 1}
    assert groups(items, colours=False) == {("star", None): 2, ("ring", None): 1}
    assert description(Scene(items, Background("white"))) == "a blue ring and two red stars"
