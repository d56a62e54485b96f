"""Captions: what a scene shows, worded in many ways, sometimes in part and never wrongly."""

from __future__ import annotations

import numpy as np

from janus_edge.shapes.places import place_of
from janus_edge.shapes.scene import RELATIONS, Background, Item, Scene, related
from janus_edge.shapes.words import article, counted, groups, listed

_FRAMES = (
    ("{}", 6), ("a photo of {}", 4), ("a picture of {}", 2), ("an image of {}", 1), ("draw {}", 1),
    ("a drawing of {}", 1),
)  # fmt: skip
_RELATION_WORDS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
_COLOURED, _RELATED, _SIZED, _PLACED, _GROUNDED = 0.65, 0.65, 0.15, 0.3, 0.25


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of ``scene``: every object is named, colours, sizes and places now and then."""
    coloured = rng.random() < _COLOURED
    body = _relation(scene, coloured, rng) if rng.random() < _RELATED else None
    if body is None:
        body = _list(scene, coloured, rng)
    if rng.random() < _GROUNDED:
        body += " " + _ground(scene.background, rng)
    weights = np.array([weight for _, weight in _FRAMES], float)
    frame = _FRAMES[int(rng.choice(len(_FRAMES), p=weights / weights.sum()))][0]
    text = frame.format(body)
    if rng.random() < 0.15:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.15 else "")


def _list(scene: Scene, coloured: bool, rng: np.random.Generator) -> str:
    found = list(groups(scene.items, colours=coloured).items())
    if len(scene.items) == 1:
        return _single(scene.items[0], coloured, rng)
    phrases = []
    for i in rng.permutation(len(found)):
        (shape, colour), count = found[i]
        if count == 1:
            item = next(
                t for t in scene.items if (t.shape, t.colour) == (shape, colour or t.colour)
            )
            phrases.append(_phrase(item, coloured, rng))
        else:
            digits = str(count) if rng.random() < 0.15 else None
            phrases.append(counted(count, shape, colour, digits))
    if len(phrases) == 2 and rng.random() < 0.15:
        return " with ".join(phrases)
    return listed(phrases)


def _single(item: Item, coloured: bool, rng: np.random.Generator) -> str:
    phrase = _phrase(item, coloured, rng)
    place = place_of(item.x, item.y)
    if place and rng.random() < _PLACED:
        return f"{phrase} {'in' if place == 'centre' else 'at'} the {place}"
    if rng.random() < 0.1:
        return "one" + phrase[phrase.index(" ") :]
    return phrase


def _phrase(item: Item, coloured: bool, rng: np.random.Generator) -> str:
    words = [item.shape]
    if coloured:
        words.insert(0, item.colour)
    if item.size != "medium" and rng.random() < _SIZED:
        words.insert(0, item.size)
    return " ".join([article(words[0]), *words])


def _relation(scene: Scene, coloured: bool, rng: np.random.Generator) -> str | None:
    """'a star left of a circle' for two objects whose places and looks allow it."""
    if len(scene.items) != 2:
        return None
    a, b = (scene.items[i] for i in rng.permutation(2))
    if a.shape == b.shape and not (coloured and a.colour != b.colour):
        return None
    true = [r for r in RELATIONS if related(r, a.x - b.x, a.y - b.y)]
    if not true:
        return None
    words = rng.choice(_RELATION_WORDS[str(rng.choice(true))])
    return f"{_phrase(a, coloured, rng)} {words} {_phrase(b, coloured, rng)}"


def _ground(background: Background, rng: np.random.Generator) -> str:
    if background.end is None:
        preposition = rng.choice(("on", "with"))
        return f"{preposition} a {background.tone} background"
    return f"on a background from {background.tone} to {background.end}"
