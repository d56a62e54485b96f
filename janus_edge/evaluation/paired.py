"""A bundle's pictures beside those of a reference: the same prompts, the same noise, in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from janus_edge.errors import InputError
from janus_edge.evaluation.comparison import CategoryDifference, Comparison
from janus_edge.evaluation.intervals import matched_difference
from janus_edge.evaluation.record import Outcome, Record
from janus_edge.evaluation.sequential import OPEN, SequentialTest, difference
from janus_edge.shapes.prompts import CATEGORIES


class Pairing:
    """Compares pictures with a record as they are painted, and says when the question is settled.

    ``planned`` is the number of rounds that will be painted at most.
    """

    def __init__(self, reference: Record, margin: float, planned: int) -> None:
        self._reference = reference
        self.test = SequentialTest(planned, margin, len(CATEGORIES))
        self._pairs: list[tuple[Outcome, Outcome]] = []

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Pair the pictures of whole rounds; raises InputError if the reference lacks one."""
        for own in outcomes:
            p = own.painted
            other = self._reference.find(p.category, p.prompt, p.seed, p.guidance_scale)
            if other is None:
                raise InputError(
                    f"{self._reference.path}: has no picture of seed {p.seed} at guidance scale "
                    f"{p.guidance_scale:g}: evaluate the reference with the same --guidance, "
                    f"--seed and at least as many pictures"
                )
            self._pairs.append((own, other))

    @property
    def settled(self) -> bool:
        """Whether the last look that was reached has settled the question."""
        rounds = self._rounds()
        if len(rounds) < self.test.looks()[0]:
            return False
        return self.test.verdict(rounds).settled != OPEN

    def comparison(self) -> Comparison:
        """All that was compared so far; before the first look the verdict is open."""
        rounds, heading = self._rounds(), self._reference.heading
        verdict, overall = OPEN, difference(rounds, len(CATEGORIES))
        if len(rounds) >= self.test.looks()[0]:
            found = self.test.verdict(rounds)
            verdict = found.settled
            if verdict != OPEN or len(rounds) == self.test.planned:
                overall = found.difference
        return Comparison(
            heading.digest, heading.precision, self.test.margin, self.test.planned, verdict, overall,
            {name: self._category(name) for name in CATEGORIES},
            fmean(own.codes != other.codes for own, other in self._pairs),
        )  # fmt: skip

    def _rounds(self) -> list[float]:
        """The mean difference of each round, in the order in which they were painted."""
        by_seed: dict[int, list[int]] = {}
        for own, other in self._pairs:
            by_seed.setdefault(own.painted.seed, []).append(_difference(own, other))
        return [fmean(own) for own in by_seed.values()]

    def _category(self, name: str) -> CategoryDifference:
        found = [_difference(a, b) for a, b in self._pairs if a.painted.category == name]
        gained, lost = found.count(1), found.count(-1)
        return CategoryDifference(
            gained, lost, len(found), *matched_difference(gained, lost, len(found))
        )


def _difference(own: Outcome, other: Outcome) -> int:
    """1 if only the own picture is right, -1 if only the other is, else 0."""
    return (own.painted.fault is None) - (other.painted.fault is None)
