"""Questions about a scene with answers that anybody would give: nothing close or ambiguous."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from janus_edge.shapes.places import place_of
from janus_edge.shapes.scene import COLOURS, RELATIONS, SHAPES, Item, Scene, related
from janus_edge.shapes.words import NUMBERS, counted, description, plural

KINDS = ("count", "colour", "shape", "place", "relation", "existence", "description")
_NEAR = 4  # pixels: an object this little beside another is neither left nor right of it


@dataclass(frozen=True)
class Question:
    """``text`` with its one right ``answer``, in lower case."""

    kind: str
    text: str
    answer: str


def question(scene: Scene, kind: str, rng: np.random.Generator) -> Question | None:
    """A question of this kind; None if the scene allows none. Raises KeyError for another kind."""
    found = _ASK[kind](scene, rng)
    return Question(kind, *found) if found else None


def right(question: Question, answer: str) -> bool:
    """Whether ``answer`` is right: letter case, the full stop and the order of a list are free."""
    given = answer.strip().rstrip(".").lower()
    if question.kind != "description":
        return given == question.answer
    return _parts(given) == _parts(question.answer)


def _parts(text: str) -> list[str]:
    return sorted(text.replace(" and ", ", ").split(", "))


def _pick(rng: np.random.Generator, options: list[str] | tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _word(rng: np.random.Generator) -> str:
    return _pick(rng, ("colour", "color"))


def _count(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    things, match = "objects", lambda item: True
    kind = rng.integers(4)
    if kind == 1 or kind == 2:
        shape = _pick(rng, [i.shape for i in scene.items] if rng.random() < 0.8 else SHAPES)
        things, match = plural(shape), lambda item: item.shape == shape
    elif kind == 3:
        colour = _pick(rng, [i.colour for i in scene.items])
        things, match = f"{colour} objects", lambda item: item.colour == colour
    asked = _pick(
        rng, ("How many {} are there?", "How many {} are in the picture?", "Count the {}.")
    )
    return asked.format(things), NUMBERS[sum(map(match, scene.items))]


def _unique(scene: Scene, attribute: str, rng: np.random.Generator) -> Item | None:
    values = [getattr(item, attribute) for item in scene.items]
    single = [i for i in scene.items if values.count(getattr(i, attribute)) == 1]
    return single[int(rng.integers(len(single)))] if single else None


def _colour(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    item = _unique(scene, "shape", rng)
    return (f"What {_word(rng)} is the {item.shape}?", item.colour) if item else None


def _shape(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    item = _unique(scene, "colour", rng)
    asked = _pick(rng, ("What shape is the {} object?", "Which shape is {}?"))
    return (asked.format(item.colour), item.shape) if item else None


def _place(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    item = _unique(scene, "shape", rng)
    place = item and place_of(item.x, item.y)
    return (f"Where is the {item.shape}?", place) if item and place else None


def _relation(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    """'What is left of the star?' where one object clearly is and the others clearly are not."""
    item = _unique(scene, "shape", rng)
    if item is None or len(scene.items) < 2:
        return None
    name = _pick(rng, RELATIONS)
    others = [other for other in scene.items if other is not item]
    there = [o for o in others if related(name, o.x - item.x, o.y - item.y)]
    near = [o for o in others if related(name, o.x - item.x, o.y - item.y, _NEAR)]
    if len(there) != 1 or len(near) != 1:
        return None
    return f"What is {name} the {item.shape}?", counted(1, there[0].shape, there[0].colour)


def _existence(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    looks = {(item.shape, item.colour) for item in scene.items}
    if rng.random() < 0.5:
        shape, colour = sorted(looks)[int(rng.integers(len(looks)))]
    else:  # half of the wrong ones share a shape or a colour with something there
        shape, colour = _pick(rng, SHAPES), _pick(rng, tuple(COLOURS))
        if rng.random() < 0.5:
            shape = _pick(rng, [s for s, _ in sorted(looks)])
        elif rng.random() < 0.5:
            colour = _pick(rng, [c for _, c in sorted(looks)])
    answer = "yes" if (shape, colour) in looks else "no"
    return f"Is there {counted(1, shape, colour)}?", answer


def _description(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    asked = ("What is in this picture?", "Describe the picture.", "What do you see?")
    return _pick(rng, asked), description(scene)


_ASK = dict(
    zip(
        KINDS,
        (_count, _colour, _shape, _place, _relation, _existence, _description),
        strict=True,
    )
)
