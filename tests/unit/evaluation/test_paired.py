"""Comparisons in pairs: counts that are known must come out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from janus_edge.errors import InputError
from janus_edge.evaluation.paired import Pairing
from janus_edge.evaluation.record import Outcome, Record
from janus_edge.evaluation.report import Painted
from janus_edge.shapes.prompts import CATEGORIES

ROUNDS = 40


def outcomes(wrong: set[tuple[int, str]], codes: str = "00") -> list[Outcome]:
    """A right picture of every category in each round, but for those that are wrong."""
    return [
        Outcome(
            Painted(name, f"a {name}", seed, 5.0, "wrong shape" if (seed, name) in wrong else None),
            codes,
        )
        for seed in range(ROUNDS)
        for name in CATEGORIES
    ]


@pytest.fixture
def reference(tmp_path: Path) -> Record:
    """Wrong in round 0 everywhere."""
    record = Record.open(tmp_path / "reference.jsonl", "digest", "fp32")
    record.add(outcomes({(0, name) for name in CATEGORIES}))
    return record


def test_counts(reference: Record) -> None:
    """Gained is right here alone, lost is right there alone; the mean is over all pictures."""
    pairing = Pairing(reference, 0.05, ROUNDS)
    wrong = {(1, "dense"), (2, "dense"), (0, "dense")}
    pairing.add(outcomes(wrong))
    found = pairing.comparison()
    assert (found.categories["dense"].gained, found.categories["dense"].lost) == (0, 2)
    assert (found.categories["colours"].gained, found.categories["colours"].lost) == (1, 0)
    assert all(c.total == ROUNDS for c in found.categories.values())
    assert found.overall.mean == pytest.approx((6 - 2) / (7 * ROUNDS))
    assert found.overall.low < found.overall.mean < found.overall.high
    assert (found.reference, found.precision, found.differing) == ("digest", "fp32", 0)


def test_differing(reference: Record) -> None:
    """Pictures whose codes differ are counted, whether or not they are judged otherwise."""
    pairing = Pairing(reference, 0.05, ROUNDS)
    pairing.add([*outcomes(set())[:70], *outcomes(set(), "11")[70:]])
    assert pairing.comparison().differing == pytest.approx(1 - 70 / (7 * ROUNDS))


def test_beyond(reference: Record) -> None:
    """A category that is always wrong costs a seventh, which is more than a margin of 2 points."""
    pairing = Pairing(reference, 0.02, ROUNDS)
    every = outcomes({(seed, "dense") for seed in range(ROUNDS)})
    for start in range(0, len(every), 28):
        pairing.add(every[start : start + 28])
        if pairing.settled:
            break
    found = pairing.comparison()
    assert found.verdict == "beyond"
    assert found.overall.rounds < ROUNDS


def test_no_partner(reference: Record) -> None:
    """A picture that the reference lacks is an error that names what to paint."""
    pairing = Pairing(reference, 0.05, ROUNDS)
    lone = [replace(o, painted=replace(o.painted, guidance_scale=3.0)) for o in outcomes(set())]
    with pytest.raises(InputError, match="no picture of seed 0 at guidance scale 3: evaluate the"):
        pairing.add(lone)
