"""What a comparison of two bundles found: frozen dataclasses that become JSON."""

from __future__ import annotations

from dataclasses import dataclass

from janus_edge.evaluation.sequential import Difference


@dataclass(frozen=True, slots=True)
class CategoryDifference:
    """Of ``total`` pairs: right only here, right only in the reference; the difference's interval."""

    gained: int
    lost: int
    total: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a bundle gains (above 0) or loses against a reference, in shares.

    ``differing`` is the share of pictures whose codes differ. ``verdict`` is 'within' if
    the loss is shown to be below ``margin``, 'beyond' if it is shown to be above, else 'open'.
    """

    reference: str
    precision: str
    margin: float
    planned: int
    verdict: str
    overall: Difference
    categories: dict[str, CategoryDifference]
    differing: float
