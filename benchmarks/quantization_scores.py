"""Task scores of a bundle, kept answer by answer, so that two bundles can be compared in pairs.

A row of `benchmarks/quantization.py` keeps under "rounds" what every seed brought: of each category
the pictures, of each kind the questions, as text of 1 (right) and 0. Two bundles that were given the
same seeds saw the same prompts, noise, questions and scenes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, variance
from typing import Any

from janus_edge.evaluation import Options, evaluate
from janus_edge.evaluation.intervals import Z, matched_difference
from janus_edge.evaluation.report import Share
from janus_edge.runtime.pipeline import Janus
from janus_edge.schema import to_dict

Row = dict[str, Any]
#: Scenes that go through the VQ model, per seed.
SCENES = 20


def score(
    janus: Janus, seeds: Sequence[int], guidance: float, prompts: int, questions: int
) -> Iterator[Row]:
    """What each seed brought: ``painting`` and ``understanding`` as outcomes, and ``psnr_db``."""
    for seed in seeds:
        report = evaluate(janus, Options((guidance,), prompts, questions, SCENES, seed))
        assert report.painting
        assert report.understanding
        assert report.reconstruction
        painting: dict[str, str] = {}
        for picture in report.painting.pictures:
            painting[picture.category] = painting.get(picture.category, "") + _bit(
                picture.fault is None
            )
        understanding: dict[str, str] = {}
        for asked in report.understanding.answers:
            understanding[asked.kind] = understanding.get(asked.kind, "") + _bit(asked.right)
        yield {
            "seed": seed, "guidance_scale": guidance, "painting": painting,
            "understanding": understanding, "psnr_db": report.reconstruction.mean_psnr_db,
        }  # fmt: skip


def asked_of(once: Row) -> tuple[float, int, int]:
    """The guidance scale and the numbers of prompts and questions of what one seed brought."""
    numbers = (len(next(iter(once[part].values()))) for part in ("painting", "understanding"))
    return (once["guidance_scale"], *numbers)


def summary(rounds: Sequence[Row], reference: Sequence[Row]) -> Row:
    """Shares with their 95 % intervals, and the differences from ``reference`` over equal seeds."""
    painting, understanding = (_joined(rounds, part) for part in ("painting", "understanding"))
    told: Row = {
        "seeds": len(rounds),
        "guidance_scale": rounds[0]["guidance_scale"],
        "painting": {"overall": _over(painting), **_each(painting)},
        "understanding": {"overall": _over(understanding), **_each(understanding)},
        "psnr_db": fmean(one["psnr_db"] for one in rounds),
    }
    paired = [(one, other) for one in rounds for other in reference if one["seed"] == other["seed"]]
    if paired and rounds is not reference:
        told["minus_float"] = {
            part: _differences(
                _joined([one for one, _ in paired], part),
                _joined([other for _, other in paired], part),
            )
            for part in ("painting", "understanding")
        }
    return told


def paired_difference(outcomes: Sequence[int], reference: Sequence[int]) -> Row:
    """The difference of two shares in points (percent) of paired outcomes, with its 95 % interval.

    ``differ`` is the number of pairs that do. Raises ValueError for sequences of unequal length.
    """
    pairs = list(zip(outcomes, reference, strict=True))
    gained, lost = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    low, high = matched_difference(gained, lost, len(pairs))
    return {
        "points": round(100 * (gained - lost) / len(pairs), 2),
        "low": round(100 * low, 2),
        "high": round(100 * high, 2),
        "differ": gained + lost,
        "of": len(pairs),
    }


def _differences(outcomes: dict[str, str], reference: dict[str, str]) -> Row:
    if outcomes.keys() != reference.keys():
        raise SystemExit("the rows were scored with different categories: score both anew")
    found = {
        name: paired_difference([*map(int, outcomes[name])], [*map(int, reference[name])])
        for name in outcomes
    }
    every = paired_difference(
        [int(bit) for name in outcomes for bit in outcomes[name]],
        [int(bit) for name in outcomes for bit in reference[name]],
    )
    # what shares a seed may hang together: the interval of means over rounds, where it is wider
    rounds = [
        fmean(int(a) - int(b) for a, b in zip(one, other, strict=True))
        for one, other in zip(_rounds(outcomes), _rounds(reference), strict=True)
    ]
    reach = 100 * Z * math.sqrt(variance(rounds) / len(rounds)) if len(rounds) > 1 else 100.0
    every["low"] = round(min(every["low"], every["points"] - reach), 2)
    every["high"] = round(max(every["high"], every["points"] + reach), 2)
    return {"overall": every, **found}


def _joined(rounds: Sequence[Row], part: str) -> dict[str, str]:
    return {name: "".join(one[part][name] for one in rounds) for name in rounds[0][part]}


def _rounds(outcomes: dict[str, str]) -> list[tuple[str, ...]]:
    """One outcome of each category, round after round; raises ValueError for unequal lengths."""
    return list(zip(*outcomes.values(), strict=True))


def _over(outcomes: dict[str, str]) -> Row:
    share = Share.over([[bit == "1" for bit in once] for once in _rounds(outcomes)])
    return dict(to_dict(share))


def _each(outcomes: dict[str, str]) -> Row:
    return {
        name: to_dict(Share.of([bit == "1" for bit in bits])) for name, bits in outcomes.items()
    }


def _bit(right: bool) -> str:
    return "1" if right else "0"
