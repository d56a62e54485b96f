"""Recipes are compared look by look: a settled one stops, and float paints no more than is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recipe_losses import Variant, compare

from janus_edge.evaluation.comparison import Comparison
from janus_edge.evaluation.options import Options
from janus_edge.shapes.prompts import Prompt
from janus_edge.shapes.scene import Scene
from tests.unit.evaluation.fakes import FakeJanus, Pixels, empty

OPTIONS = Options((6.0,), 40, parallel=8)


def doubtful(prompt: Prompt, seed: int, scale: float) -> Callable[[Scene], Pixels] | None:
    """Wrong in one picture of ten."""
    return empty if (seed * 7 + len(prompt.text)) % 10 == 0 else None


def test_looks(tmp_path: Path) -> None:
    """Equal pictures settle at the first looks; a loss of about the margin stays open to the end."""
    opened = {
        "float": FakeJanus(OPTIONS),
        "equal": FakeJanus(OPTIONS),
        "worse": FakeJanus(OPTIONS, doubtful),
    }
    for janus, letter in zip(opened.values(), "abc", strict=True):
        janus.bundle.digest = letter
    verdicts: dict[str, list[Comparison]] = {}
    variants = {
        "equal": Variant(Path("equal"), 0.1),
        "worse": Variant(Path("worse"), 0.1),
    }

    def found(name: str, comparison: Comparison) -> None:
        verdicts.setdefault(name, []).append(comparison)

    compare(Path("float"), variants, tmp_path, OPTIONS, lambda path: opened[path.name], found)  # type: ignore[arg-type, return-value]
    assert verdicts["equal"][-1].verdict == "within"
    assert len(verdicts["equal"]) < len(verdicts["worse"])
    rounds = {
        name: sum(len(texts) for texts, _, _ in janus.painted) // 7
        for name, janus in opened.items()
    }
    assert rounds["equal"] == verdicts["equal"][-1].overall.rounds < rounds["worse"] == 40
    assert rounds["float"] == 40, "once each, whatever the number of variants"
    assert verdicts["worse"][-1].overall.mean < 0
