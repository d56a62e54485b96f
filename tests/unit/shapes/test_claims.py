"""Claims about scenes: as many true as false ones, and false ones by a single change."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from janus_edge.shapes.claims import CHANGES, KIND, Claim, ask, changed, claim_question, true_claim
from janus_edge.shapes.scene import Background, Item, Scene, random_scene

TWO = Scene((Item("star", "red", 16, 32, 8), Item("ring", "blue", 48, 32, 8)), Background("white"))


def scenes(count: int) -> list[tuple[Scene, np.random.Generator]]:
    generators = [np.random.default_rng([3, i]) for i in range(count)]
    return [(random_scene(rng), rng) for rng in generators]


def test_truth() -> None:
    """True claims hold, changed ones do not: also where objects are alike or a colour is unnamed."""
    for scene, rng in scenes(500):
        claim = true_claim(scene, rng)
        assert claim.true_of(scene), (claim, scene)
        other = changed(claim, scene, rng)
        assert not other.true_of(scene), (other, scene)
        assert other.text != claim.text


def differences(a: Claim, b: Claim) -> str:
    """The one change between two claims."""
    if a.relation != b.relation:
        assert a.wanted == b.wanted
        return "position"
    if len(a.wanted) != len(b.wanted):
        assert abs(len(a.wanted) - len(b.wanted)) == 1
        return "count"
    pairs = [(x, y) for x, y in zip(a.wanted, b.wanted, strict=True) if x != y]
    if len(pairs) == 2:
        assert sorted(x for pair in pairs for x in [pair[0][1]]) == sorted(y[1] for _, y in pairs)
        return "attribution"
    ((x, y),) = pairs
    assert (x[0] == y[0]) != (x[1] == y[1])
    return "shape" if x[0] != y[0] else "colour"


def test_one_change() -> None:
    """A false claim differs from a true one in one respect, and every respect occurs."""
    found = Counter(
        differences(claim, changed(claim, scene, rng))
        for scene, rng in scenes(1000)
        for claim in [true_claim(scene, rng)]
    )
    assert set(found) == set(CHANGES)
    assert min(found.values()) > 40


def test_as_many_yes_as_no() -> None:
    asked = [claim_question(scene, rng) for scene, rng in scenes(2000)]
    yes = sum(q.answer == "yes" for q in asked)
    assert abs(yes - 1000) < 100
    assert {q.answer for q in asked} == {"yes", "no"}
    assert {q.kind for q in asked} == {KIND}


@pytest.mark.parametrize(
    ("claim", "true", "text"),
    [
        (Claim((("star", "red"), ("ring", None)), "left of"), True, "a red star left of a ring"),
        (Claim((("star", "red"), ("ring", None)), "right of"), False, "a red star right of a ring"),
        (Claim((("ring", "red"), ("star", "blue"))), False, "a red ring and a blue star"),
        (Claim((("star", None),)), False, "a star"),
        (Claim((("star", None), ("star", None))), False, "two stars"),
    ],
)
def test_examples(claim: Claim, true: bool, text: str) -> None:
    assert claim.true_of(TWO) == true
    assert claim.text == text
    assert ask(text) == f"Does this picture show {text}?"
