"""Pictures are painted in rounds, read and judged: counts that are known must come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from PIL import Image

from janus_edge.engine_manifest import EngineManifest, Profile, Range
from janus_edge.evaluation.options import SEEDS, Options
from janus_edge.evaluation.painting import AT_ONCE, paint, rounds, rounds_at_once
from janus_edge.evaluation.paired import Pairing
from janus_edge.evaluation.record import Record
from janus_edge.evaluation.report import Painted, Painting
from janus_edge.runtime.generation import Parallel
from janus_edge.shapes.prompts import CATEGORIES, Prompt
from janus_edge.shapes.scene import Scene
from tests.unit.evaluation.fakes import FakeJanus, Pixels, empty, noise, recoloured

OPTIONS = Options(guidance_scales=(1.0, 5.0), prompts=4, seed=3)


def err(prompt: Prompt, seed: int, scale: float) -> Callable[[Scene], Pixels] | None:
    """At scale 1: nothing, noise and other colours in turn, then the truth; at 5 all is right."""
    return (empty, noise, recoloured, None)[seed % 4] if scale == 1 else None


@pytest.fixture(scope="module")
def painted() -> tuple[Painting, FakeJanus, list[tuple[int, int]], list[Painted]]:
    janus, told, seen = FakeJanus(OPTIONS, err), [], []

    def look(outcome: Painted, image: Image.Image) -> None:
        assert image.size == (64, 64)
        seen.append(outcome)

    found = paint(janus, OPTIONS, lambda *progress: told.append(progress), look)  # type: ignore[arg-type]
    return found, janus, told, seen


def test_counts(painted: tuple[Painting, object, object, object]) -> None:
    """Every category is counted by itself, with its faults by kind; overall is their mean."""
    wrong, right = painted[0].scales
    assert (wrong.guidance_scale, right.guidance_scale) == (1.0, 5.0)
    assert list(wrong.categories) == list(right.categories) == list(CATEGORIES)
    for name, category in wrong.categories.items():
        named = any(colour for _, colour in rounds(OPTIONS)[0][CATEGORIES.index(name)].wanted)
        assert (category.score.right, category.score.total) == (1 if named else 2, 4)
        assert category.faults == {"wrong number": 1, "something unclear": 1} | (
            {"wrong colour": 1} if named else {}
        )
    assert wrong.overall.share == pytest.approx((4 * 2 + 3 * 1) / 28)
    assert all(c.score.share == 1 and not c.faults for c in right.categories.values())
    assert right.overall.right == right.overall.total == 28
    assert painted[0].best is right


def test_every_picture_is_accounted_for(painted: tuple[Painting, object, object, object]) -> None:
    """Its prompt, seed and scale, with which it can be painted again, and the fault in full."""
    pictures = painted[0].pictures
    assert len(pictures) == 2 * 4 * 7
    first = pictures[0]
    assert first == Painted(
        "single object", rounds(OPTIONS)[0][0].text, 3 * SEEDS, 1.0, "0 objects instead of 1"
    )
    assert list(pictures) == painted[3], "each was shown as it was judged"


def test_rounds(painted: tuple[object, FakeJanus, object, object]) -> None:
    """A round is one prompt of every category with one seed, the same at each scale.

    Four rounds are painted at once.
    """
    texts = [prompt.text for once in rounds(OPTIONS) for prompt in once]
    seeds = [seed for seed in range(3 * SEEDS, 3 * SEEDS + 4) for _ in CATEGORIES]
    assert painted[1].painted == [(tuple(texts), tuple(seeds), scale) for scale in (1.0, 5.0)]
    assert rounds(replace(OPTIONS, prompts=2)) == rounds(OPTIONS)[:2]


@pytest.mark.parametrize(("rows", "expected"), [(2, 1), (14, 1), (28, 2), (500, AT_ONCE)])
def test_batches_fit_an_engine(rows: int, expected: int) -> None:
    """An engine paints no more rounds at once than its profile has rows for, two a picture."""
    manifest = Mock(spec=EngineManifest)
    size = Range(1, 1, rows)
    manifest.profiles = (Profile(size, size, size),)
    bundle = SimpleNamespace(manifest=manifest)
    assert rounds_at_once(SimpleNamespace(bundle=bundle)) == expected  # type: ignore[arg-type]


def test_record(tmp_path: Path) -> None:
    """What a record has is not painted again; the outcome is that of one uninterrupted run."""
    options = replace(OPTIONS, prompts=6)
    whole = paint(FakeJanus(options, err), options)  # type: ignore[arg-type]
    path = tmp_path / "record.jsonl"
    first = replace(options, prompts=3, guidance_scales=(5.0,))
    paint(FakeJanus(first, err), first, record=Record.open(path, "d", "fp32"))  # type: ignore[arg-type]
    janus, seen = FakeJanus(options, err), []
    record = Record.open(path, "d", "fp32")
    found = paint(janus, options, look=lambda p, image: seen.append(p), record=record)  # type: ignore[arg-type]
    assert found == whole
    assert len(seen) == sum(len(texts) for texts, _, _ in janus.painted) == (12 - 3) * 7
    again = FakeJanus(options, err)
    assert paint(again, options, record=Record.open(path, "d", "fp32")) == whole  # type: ignore[arg-type]
    assert not again.painted


def test_a_settled_comparison_stops(tmp_path: Path) -> None:
    """Equal pictures settle a large margin before all is painted: after the batch with a planned look."""
    options = Options(guidance_scales=(5.0,), prompts=60)
    reference = Record.open(tmp_path / "r.jsonl", "d", "fp32")
    paint(FakeJanus(options), options, record=reference)  # type: ignore[arg-type]
    pairing = Pairing(reference, 0.1, 60)
    found = paint(FakeJanus(options), options, pairing=pairing)  # type: ignore[arg-type]
    comparison = pairing.comparison()
    assert comparison.verdict == "within"
    assert comparison.overall.rounds in pairing.test.looks()
    painted = len(found.pictures) // 7
    assert comparison.overall.rounds <= painted < comparison.overall.rounds + AT_ONCE < 60
    assert comparison.differing == 0


@pytest.mark.parametrize("parallel", ["off", "auto", 8])
def test_how_it_is_painted(parallel: Parallel) -> None:
    options = replace(OPTIONS, parallel=parallel, prompts=1)
    janus = FakeJanus(options)
    paint(janus, options)  # type: ignore[arg-type]
    assert janus.parallel == {parallel}


def test_progress(painted: tuple[object, object, list[tuple[int, int]], object]) -> None:
    """It begins at none and ends at all pictures."""
    assert painted[2] == [(28 * i, 56) for i in range(3)]


def test_reports_of_several_seeds_add_up(painted: tuple[Painting, object, object, object]) -> None:
    """Outcomes of two evaluations are scored together; the same one twice is refused."""
    one = painted[0].pictures
    other = [replace(p, seed=p.seed + SEEDS, fault="wrong shape") for p in one]
    both = Painting.of([*one, *other])
    assert [scale.overall.total for scale in both.scales] == [56, 56]
    assert both.scales[1].overall.share == 0.5
    assert both.scales[1].categories["counting"].faults == {"wrong shape": 4}
    with pytest.raises(ValueError, match="seed 3000000 has two pictures of 'single object'"):
        Painting.of([*one, *one])


def test_pictures_of_a_round_hang_together(
    painted: tuple[Painting, object, object, object],
) -> None:
    """At scale 1 whole rounds are wrong: the interval is wider than that of so many pictures."""
    overall = painted[0].scales[0].overall
    independent = painted[0].scales[0].overall.of([True] * 11 + [False] * 17)
    assert overall.low < independent.low < independent.high < overall.high
