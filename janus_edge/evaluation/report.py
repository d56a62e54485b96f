"""What an evaluation found: frozen dataclasses that become JSON and come back from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from janus_edge.errors import InputError
from janus_edge.evaluation.comparison import Comparison
from janus_edge.evaluation.intervals import wilson, wilson_of_rounds
from janus_edge.evaluation.options import Options
from janus_edge.schema import from_dict, to_dict


@dataclass(frozen=True, slots=True)
class Share:
    """``right`` of ``total``; ``low`` and ``high`` are the ends of the 95 % interval of ``share``."""

    right: int
    total: int
    share: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.total or not self.total:
            raise ValueError(f"{self.right} of {self.total} is no share")
        if not 0 <= self.low <= self.share <= self.high <= 1:
            raise ValueError(f"{self.share} is not within {self.low} and {self.high}")
        if not math.isclose(self.share, self.right / self.total):
            raise ValueError(f"{self.right} of {self.total} are not {self.share}")

    @classmethod
    def of(cls, outcomes: Sequence[bool]) -> Share:
        """The share of independent outcomes that are True, with Wilson's interval."""
        right, total = sum(outcomes), len(outcomes)
        return cls(right, total, right / total, *wilson(right, total))

    @classmethod
    def over(cls, rounds: Sequence[Sequence[bool]]) -> Share:
        """The same for rounds, equally large, of outcomes that may hang together."""
        interval = wilson_of_rounds(rounds)
        right, total = sum(map(sum, rounds)), sum(map(len, rounds))
        return cls(right, total, right / total, *interval)


@dataclass(frozen=True, slots=True)
class Painted:
    """One picture: what it takes to paint it again, and ``fault``, None if it shows its prompt."""

    category: str
    prompt: str
    seed: int
    guidance_scale: float
    fault: str | None


@dataclass(frozen=True, slots=True)
class CategoryScore:
    """How many pictures of a category show their prompt; kind of fault -> how many have it."""

    score: Share
    faults: dict[str, int]


@dataclass(frozen=True, slots=True)
class ScaleScore:
    """The pictures of one guidance scale; ``overall`` is the mean over the categories."""

    guidance_scale: float
    overall: Share
    categories: dict[str, CategoryScore]


@dataclass(frozen=True, slots=True)
class Painting:
    """Scores by guidance scale, in the order given, and the outcome of every picture."""

    scales: tuple[ScaleScore, ...]
    pictures: tuple[Painted, ...]

    @classmethod
    def of(cls, pictures: Iterable[Painted]) -> Painting:
        """Score pictures, which may come from several reports with different seeds.

        Each seed must have been used for one picture of every category, so that the mean over
        categories is that over pictures. Raises ValueError if it was not.
        """
        every = tuple(pictures)
        scales = dict.fromkeys(picture.guidance_scale for picture in every)
        return cls(
            tuple(_score(s, [p for p in every if p.guidance_scale == s]) for s in scales), every
        )

    @property
    def best(self) -> ScaleScore:
        """The scale with the highest overall share; the first of equals."""
        return max(self.scales, key=lambda scale: scale.overall.right / scale.overall.total)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question about one scene, the one right answer, and what was said."""

    kind: str
    question: str
    expected: str
    said: str
    right: bool


@dataclass(frozen=True, slots=True)
class Understanding:
    """Right answers by kind of question; ``overall`` is the mean over the kinds."""

    overall: Share
    kinds: dict[str, Share]
    answers: tuple[Asked, ...]

    @classmethod
    def of(cls, rounds: Sequence[Sequence[Asked]]) -> Understanding:
        """Score rounds of one question of each kind."""
        answers = tuple(asked for once in rounds for asked in once)
        kinds = dict.fromkeys(asked.kind for asked in answers)
        return cls(
            Share.over([[asked.right for asked in once] for once in rounds]),
            {kind: Share.of([a.right for a in answers if a.kind == kind]) for kind in kinds},
            answers,
        )


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Scenes turned into codes and back.

    ``mean_psnr_db`` is the mean of ``psnr_db``, one figure for each scene: 10 log10(255^2 / MSE)
    over the 64 x 64 x 3 values from 0 to 255, at most 200 dB. ``legible`` is the share that is
    still read as exactly the scene that it was.
    """

    mean_psnr_db: float
    legible: Share
    psnr_db: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One evaluation of one bundle; a part, or a comparison, that was not asked for is None.

    ``precision`` is the recipe's name, ``digest`` the bundle's; ``seconds`` part -> how long.
    """

    version: str
    bundle: str
    digest: str
    precision: str
    options: Options
    seconds: dict[str, float]
    painting: Painting | None
    understanding: Understanding | None
    reconstruction: Reconstruction | None
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """What ``json.dump`` takes and :meth:`from_json` reads back."""
        data: dict[str, Any] = to_dict(self)
        return data

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """The report that :meth:`to_json` wrote; raises InputError if it is none."""
        return from_dict(cls, data, error=lambda why: InputError(f"not a report: {why}"))


def kind_of_fault(fault: str) -> str:
    """A fault without its numbers: '3 objects instead of 2' is a 'wrong number'."""
    return "wrong number" if " objects instead of " in fault else fault


def _score(scale: float, pictures: Sequence[Painted]) -> ScaleScore:
    by_category: dict[str, list[Painted]] = {}
    rounds: dict[int, dict[str, bool]] = {}
    for picture in pictures:
        by_category.setdefault(picture.category, []).append(picture)
        once = rounds.setdefault(picture.seed, {})
        if picture.category in once:
            raise ValueError(f"seed {picture.seed} has two pictures of '{picture.category}'")
        once[picture.category] = picture.fault is None
    categories = {
        name: CategoryScore(
            Share.of([p.fault is None for p in members]),
            dict(Counter(kind_of_fault(p.fault) for p in members if p.fault).most_common()),
        )
        for name, members in by_category.items()
    }
    return ScaleScore(scale, Share.over([[*once.values()] for once in rounds.values()]), categories)
