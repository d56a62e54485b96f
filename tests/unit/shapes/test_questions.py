"""Answers are true and the only ones possible."""

from __future__ import annotations

import re

import numpy as np
import pytest

from janus_edge.shapes.questions import KINDS, Question, question, right
from janus_edge.shapes.scene import Background, Item, Scene, random_scene
from janus_edge.shapes.words import NUMBERS, plural

SCENE = Scene(
    (
        Item("star", "red", 12, 12, 8),
        Item("ring", "blue", 50, 14, 8),
        Item("ring", "green", 14, 50, 8),
    ),
    Background("grey"),
)
STAR = SCENE.items[0]


def asked(kind: str, count: int = 200) -> list[tuple[Scene, Question]]:
    found = []
    for i in range(count):
        rng = np.random.default_rng([9, i])
        scene = random_scene(rng)
        one = question(scene, kind, rng)
        if one:
            found.append((scene, one))
    assert len(found) > count / 10
    return found


def test_counts() -> None:
    for scene, one in asked("count"):
        thing = re.search(r"(?:How many|Count the) ([a-z ]+?)(?: are|\.)", one.text)
        assert thing, one.text
        words = thing.group(1)
        number = sum(
            words == "objects" or words == plural(i.shape) or words == f"{i.colour} objects"
            for i in scene.items
        )
        assert one.answer == NUMBERS[number]
    assert "zero" in {one.answer for _, one in asked("count", 400)}


@pytest.mark.parametrize(
    ("kind", "known", "answer"), [("colour", "shape", "colour"), ("shape", "colour", "shape")]
)
def test_attributes(kind: str, known: str, answer: str) -> None:
    """What is asked about exists once."""
    for scene, one in asked(kind):
        about = [i for i in scene.items if re.search(rf"\b{getattr(i, known)}\b", one.text)]
        assert [getattr(i, answer) for i in about] == [one.answer]


def test_places() -> None:
    for scene, one in asked("place"):
        (item,) = [i for i in scene.items if i.shape in one.text]
        assert ("left" in one.answer) == (item.x < 64 / 3)
        assert ("bottom" in one.answer) == (item.y > 128 / 3)


def test_relations() -> None:
    """Exactly one object is there, even if one looks less strictly."""
    for scene, one in asked("relation", 400):
        words = re.fullmatch(r"What is (left of|right of|above|below) the (\w+)\?", one.text)
        assert words
        side, shape = words.groups()
        (item,) = [i for i in scene.items if i.shape == shape]
        axis, sign = ("x" if "of" in side else "y"), (1 if side in ("right of", "below") else -1)
        there = [i for i in scene.items if sign * (getattr(i, axis) - getattr(item, axis)) >= 4]
        assert [f"{i.colour} {i.shape}" for i in there] == [one.answer.split(" ", 1)[1]]


def test_existence() -> None:
    answers = set()
    for scene, one in asked("existence"):
        there = any(f"{i.colour} {i.shape}?" in one.text for i in scene.items)
        assert one.answer == ("yes" if there else "no")
        answers.add(one.answer)
    assert answers == {"yes", "no"}


def test_a_scene_that_allows_none() -> None:
    """Two rings: 'the ring' is nobody, so its colour is not asked for."""
    rings = Scene(SCENE.items[1:], Background("grey"))
    assert question(rings, "colour", np.random.default_rng(0)) is None
    assert (
        question(Scene((STAR,), Background("grey")), "relation", np.random.default_rng(0)) is None
    )


def test_unknown_kind() -> None:
    with pytest.raises(KeyError):
        question(SCENE, "weather", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("kind", "expected", "said", "ok"),
    [
        ("colour", "red", "Red.", True),
        ("colour", "red", "orange", False),
        ("colour", "red", "red star", False),
        (
            "description",
            "a red star, a ring and two circles",
            "two circles, a ring and a red star",
            True,
        ),
        ("description", "a red star and a ring", "a red star", False),
        ("description", "a red star and a ring", "a red star, a ring and a ring", False),
        ("count", "two", "", False),
    ],
)
def test_right(kind: str, expected: str, said: str, ok: bool) -> None:
    assert right(Question(kind, "?", expected), said) is ok


def test_every_kind_is_asked() -> None:
    rng = np.random.default_rng(1)
    for kind in KINDS:
        found = question(SCENE, kind, rng)
        assert found is None or found.kind == kind
