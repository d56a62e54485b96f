"""Prompts ask for what they say, and only a picture of that is right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from janus_edge.shapes.drawing import draw
from janus_edge.shapes.prompts import CATEGORIES, Prompt, fault, prompts
from janus_edge.shapes.reader import Reading, Seen, read
from janus_edge.shapes.scene import RELATIONS, Background, Item, Scene, place, related


def seen(shape: str, colour: str, x: float = 20, y: float = 20) -> Seen:
    return Seen(shape, colour, x, y, 8.0, 0.95)


def reading(*items: Seen, unclear: int = 0) -> Reading:
    return Reading(items, unclear)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_drawn_picture_of_a_prompt_is_right(category: str) -> None:
    for number, prompt in enumerate(prompts(category, 12, seed=3)):
        rng = np.random.default_rng([5, number])

        def fits(items: tuple[Item, ...], prompt: Prompt = prompt) -> bool:
            if prompt.relation is None:
                return True
            return related(prompt.relation, items[0].x - items[1].x, items[0].y - items[1].y)

        looks = [(shape, colour or "red") for shape, colour in prompt.wanted]
        scene = Scene(place(looks, rng, fits), Background("grey"))
        assert fault(prompt, read(draw(scene))) is None, (prompt, scene)


def test_first_prompts_of_a_longer_list() -> None:
    for category in CATEGORIES:
        assert prompts(category, 9)[:4] == prompts(category, 4)
        assert prompts(category, 9, seed=1) != prompts(category, 9)


def test_text_and_wish_agree() -> None:
    for prompt in prompts("counting", 30):
        number = {2: "two", 3: "three", 4: "four"}[len(prompt.wanted)]
        assert prompt.text.startswith(f"a photo of {number} {prompt.wanted[0][0]}")
    for prompt in prompts("position", 30):
        (a, _), (b, _) = prompt.wanted
        assert prompt.relation in RELATIONS
        words = prompt.text.removeprefix("a photo of ").split()
        assert (words[1], words[-1]) == (a, b)
        assert f" {prompt.relation} " in prompt.text
    for prompt in prompts("colour attribution", 30):
        assert all(f"{colour} {shape}" in prompt.text for shape, colour in prompt.wanted)


STAR_AND_RING = Prompt("colour attribution", "", (("star", "red"), ("ring", "blue")))
STAR_LEFT = Prompt("position", "", (("star", None), ("ring", None)), "left of")


@pytest.mark.parametrize(
    ("prompt", "shown", "reason"),
    [
        (STAR_AND_RING, reading(seen("ring", "blue"), seen("star", "red")), None),
        (STAR_AND_RING, reading(seen("ring", "red"), seen("star", "blue")), "wrong colour"),
        (STAR_AND_RING, reading(seen("ring", "blue"), seen("cross", "red")), "wrong shape"),
        (STAR_AND_RING, reading(seen("star", "red")), "1 objects instead of 2"),
        (STAR_AND_RING, reading(seen("ring", "blue"), seen("star", "red"), unclear=1), "something unclear"),
        (STAR_LEFT, reading(seen("ring", "red", 40), seen("star", "red", 20)), None),
        (STAR_LEFT, reading(seen("star", "red", 40), seen("ring", "red", 20)), "wrong position"),
        (STAR_LEFT, reading(seen("star", "red", 20, 50), seen("ring", "red", 22, 20)), "wrong position"),
        (STAR_LEFT, reading(), "0 objects instead of 2"),
    ],
)  # fmt: skip
def test_faults(prompt: Prompt, shown: Reading, reason: str | None) -> None:
    assert fault(prompt, shown) == reason


def test_dense_prompts_name_everything() -> None:
    for prompt in prompts("dense", 20):
        assert 3 <= len(prompt.wanted) <= 4
        assert " background" in prompt.text
        for (shape, colour), count in Counter(prompt.wanted).items():
            assert f"{colour} {shape}" in prompt.text or count > 1


def test_unknown_category() -> None:
    with pytest.raises(ValueError, match="weather"):
        prompts("weather", 1)
