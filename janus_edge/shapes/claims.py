"""Claims about a scene: captions that are true, or one change away from true.

"Does this picture show {caption}?" asks for what ``prompts.fault`` judges: everything that the
caption names, where it says, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from janus_edge.shapes.prompts import Prompt, fault
from janus_edge.shapes.questions import Question
from janus_edge.shapes.reader import Reading, Seen
from janus_edge.shapes.scene import COLOURS, MOST_ITEMS, RELATIONS, SHAPES, Scene, related
from janus_edge.shapes.words import counted, groups_of, listed

#: What a caption asks for, as in ``Prompt.wanted``.
Wanted = tuple[tuple[str, str | None], ...]

KIND = "show"
#: What is changed in a caption that is not true.
CHANGES = ("shape", "colour", "count", "position", "attribution")
_OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_FRAMES = ("{}", "{}", "{}", "a photo of {}", "a picture of {}")
_COLOURED, _RELATED = 0.65, 0.75


@dataclass(frozen=True)
class Claim:
    """A caption without its frame: what it names, and the relation of the first to the second."""

    wanted: Wanted
    relation: str | None = None

    def true_of(self, scene: Scene) -> bool:
        """Whether ``scene`` shows what the caption names, and nothing else."""
        seen = (Seen(i.shape, i.colour, i.x, i.y, i.radius, 1.0) for i in scene.items)
        return fault(Prompt("", "", self.wanted, self.relation), Reading(tuple(seen), 0)) is None

    @property
    def text(self) -> str:
        """'a red star left of a ring', 'two circles and a blue cross'."""
        if self.relation:
            first, second = (counted(1, shape, colour) for shape, colour in self.wanted)
            return f"{first} {self.relation} {second}"
        return listed([counted(n, *look) for look, n in groups_of(self.wanted).items()])


def ask(caption: str) -> str:
    """The question whether a picture shows ``caption``."""
    return f"Does this picture show {caption}?"


def claim_question(scene: Scene, rng: np.random.Generator) -> Question:
    """A question whose answer is yes or no with equal probability."""
    true = true_claim(scene, rng)
    shown = rng.random() < 0.5
    claim = true if shown else changed(true, scene, rng)
    frame = _FRAMES[int(rng.integers(len(_FRAMES)))]
    return Question(KIND, ask(frame.format(claim.text)), "yes" if shown else "no")


def true_claim(scene: Scene, rng: np.random.Generator) -> Claim:
    """A claim that holds for ``scene``; it names every object, with or without colours."""
    coloured = bool(rng.random() < _COLOURED)
    items = [scene.items[i] for i in rng.permutation(len(scene.items))]
    wanted = tuple((i.shape, i.colour if coloured else None) for i in items)
    if len(items) == 2 and wanted[0] != wanted[1] and rng.random() < _RELATED:
        a, b = items
        true = [r for r in RELATIONS if related(r, a.x - b.x, a.y - b.y)]
        if true:
            return Claim(wanted, str(rng.choice(true)))
    return Claim(wanted)


def changed(claim: Claim, scene: Scene, rng: np.random.Generator) -> Claim:
    """``claim`` with one change that makes it false for ``scene``; the kinds are equally likely."""
    for number in rng.permutation(len(CHANGES)):
        # a colour may be swapped with an equal one, a shape repeated: try again
        for _ in range(4):
            other = _CHANGE[CHANGES[int(number)]](claim, rng)
            if other and not other.true_of(scene):
                return other
    raise AssertionError("another shape always makes a claim false")


def _replaced(wanted: Wanted, place: int, look: tuple[str, str | None]) -> Wanted:
    return (*wanted[:place], look, *wanted[place + 1 :])


def _shape(claim: Claim, rng: np.random.Generator) -> Claim | None:
    place = int(rng.integers(len(claim.wanted)))
    colour = claim.wanted[place][1]
    return _valid(_replaced(claim.wanted, place, (str(rng.choice(SHAPES)), colour)), claim)


def _colour(claim: Claim, rng: np.random.Generator) -> Claim | None:
    place = int(rng.integers(len(claim.wanted)))
    shape, colour = claim.wanted[place]
    if colour is None:
        return None
    return _valid(_replaced(claim.wanted, place, (shape, str(rng.choice(list(COLOURS))))), claim)


def _count(claim: Claim, rng: np.random.Generator) -> Claim | None:
    """One object more of a look that is there, or one less."""
    if claim.relation:
        return None
    place = int(rng.integers(len(claim.wanted)))
    if rng.random() < 0.5:
        more = (*claim.wanted, claim.wanted[place])
        return Claim(more) if len(more) <= MOST_ITEMS else None
    less = claim.wanted[:place] + claim.wanted[place + 1 :]
    return Claim(less) if less else None


def _position(claim: Claim, rng: np.random.Generator) -> Claim | None:
    return Claim(claim.wanted, _OPPOSITES[claim.relation]) if claim.relation else None


def _attribution(claim: Claim, rng: np.random.Generator) -> Claim | None:
    """The colours of two objects swapped."""
    if len(claim.wanted) < 2:
        return None
    i, j = sorted(int(n) for n in rng.choice(len(claim.wanted), 2, replace=False))
    (a, a_colour), (b, b_colour) = claim.wanted[i], claim.wanted[j]
    swapped = _replaced(_replaced(claim.wanted, i, (a, b_colour)), j, (b, a_colour))
    return _valid(swapped, claim)


def _valid(wanted: Wanted, claim: Claim) -> Claim | None:
    """A claim with the relation of ``claim``; None if it would relate two equal looks."""
    if claim.relation and wanted[0] == wanted[1]:
        return None
    return Claim(wanted, claim.relation)


_CHANGE: dict[str, Callable[[Claim, np.random.Generator], Claim | None]] = dict(
    zip(CHANGES, (_shape, _colour, _count, _position, _attribution), strict=True)
)
