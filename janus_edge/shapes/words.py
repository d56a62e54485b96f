"""Words of the world: numbers, plurals, noun phrases and lists, shared by captions and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from janus_edge.shapes.scene import Item, Scene

NUMBERS = ("zero", "one", "two", "three", "four")


def plural(shape: str) -> str:
    """'circle' -> 'circles', 'cross' -> 'crosses'."""
    return shape + ("es" if shape.endswith("s") else "s")


def counted(count: int, shape: str, colour: str | None = None, number: str | None = None) -> str:
    """'a red circle', 'an orange star', 'two crosses'; ``number`` replaces the number's word."""
    noun = shape if count == 1 else plural(shape)
    adjective = f"{colour} " if colour else ""
    if number is None:
        number = article(adjective or noun) if count == 1 else NUMBERS[count]
    return f"{number} {adjective}{noun}"


def article(word: str) -> str:
    """'a' or 'an', as ``word`` begins."""
    return "an" if word[0] in "aeio" else "a"


def listed(phrases: Sequence[str]) -> str:
    """'x', 'x and y', 'x, y and z'."""
    *first, last = phrases
    return f"{', '.join(first)} and {last}" if first else last


def groups(items: Iterable[Item], *, colours: bool = True) -> dict[tuple[str, str | None], int]:
    """(shape, colour or None) -> how many, in the order in which they appear."""
    return groups_of((item.shape, item.colour if colours else None) for item in items)


def groups_of(looks: Iterable[tuple[str, str | None]]) -> dict[tuple[str, str | None], int]:
    """Each (shape, colour or None) -> how many, in the order in which they appear."""
    return dict(Counter(looks))


def description(scene: Scene) -> str:
    """Everything in the scene from left to right, colours included: 'a red star and two circles'."""
    ordered = sorted(scene.items, key=lambda item: (item.x, item.y))
    return listed([counted(n, shape, c) for (shape, c), n in groups(ordered).items()])
