"""A report is JSON and back, and its shares add up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from janus_edge.errors import InputError
from janus_edge.evaluation import Options, Painted, Painting, Report, evaluate
from janus_edge.evaluation.report import Share, kind_of_fault
from tests.unit.evaluation.fakes import FakeJanus, noise

OPTIONS = Options(guidance_scales=(2.0, 3.0), prompts=2, questions=2, scenes=2, seed=1)


@pytest.fixture(scope="module")
def report() -> Report:
    janus = FakeJanus(OPTIONS, lambda prompt, seed, scale: noise if seed % 2 else None)
    return evaluate(janus, OPTIONS)  # type: ignore[arg-type]


def test_round_trip(report: Report) -> None:
    """What is written as JSON is read back equal, pictures and answers included."""
    again = Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False)))
    assert again == report
    assert again.painting
    assert len(again.painting.pictures) == 28


def test_parts_that_were_not_asked_for() -> None:
    """They are None, are not run, and come back as None."""
    options = Options(scenes=1, prompts=1, questions=1, parts=("reconstruction",))
    janus = FakeJanus(options)
    report = evaluate(janus, options)  # type: ignore[arg-type]
    assert (report.painting, report.understanding, janus.asked) == (None, None, 0)
    assert report.reconstruction
    assert list(report.seconds) == ["reconstruction"]
    assert Report.from_json(report.to_json()) == report


def test_provenance(report: Report) -> None:
    """A report names its bundle, its precision and its options."""
    assert (report.bundle, report.digest, report.precision) == ("fake-bundle", "ab" * 32, "fp32")
    assert report.options == OPTIONS
    assert list(report.seconds) == ["painting", "understanding", "reconstruction"]


def test_progress_names_the_part() -> None:
    told: list[Any] = []
    options = Options((5.0,), prompts=1, questions=1, scenes=1)
    evaluate(FakeJanus(options), options, lambda *progress: told.append(progress))  # type: ignore[arg-type]
    assert told == [
        ("painting", 0, 7), ("painting", 7, 7), ("understanding", 0, 7), ("understanding", 7, 7),
        ("reconstruction", 0, 1), ("reconstruction", 1, 1),
    ]  # fmt: skip


def test_another_size_is_refused() -> None:
    """A model that does not paint the world of shapes is refused before anything is run."""
    janus = FakeJanus(OPTIONS, side=384)
    with pytest.raises(InputError, match=r"fake-bundle: paints 384 x 384 pixels, .* 64 x 64"):
        evaluate(janus, OPTIONS)  # type: ignore[arg-type]
    assert not janus.painted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1}, "not a report: unknown key 'score'"),
        ({"painting": {"scales": []}}, "not a report: missing key 'painting.pictures'"),
        ({"seconds": None}, "not a report: seconds: expected an object"),
    ],
)
def test_other_json(report: Report, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Report.from_json(report.to_json() | change)


@pytest.mark.parametrize(
    "numbers",
    [(3, 2, 1.0, 0.0, 1.0), (0, 0, 0.0, 0.0, 1.0), (1, 2, 0.5, 0.6, 1.0), (1, 2, 0.7, 0.0, 1.0)],
)
def test_a_share_adds_up(numbers: tuple[int, int, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"is no share|is not within|are not"):
        Share(*numbers)


def test_the_best_of_equals_is_the_first() -> None:
    pictures = [Painted("dense", "a star", 0, scale, None) for scale in (3.0, 2.0)]
    assert Painting.of(pictures).best.guidance_scale == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("3 objects instead of 2", "wrong number"), ("wrong shape", "wrong shape")],
)
def test_kind_of_fault(fault: str, kind: str) -> None:
    assert kind_of_fault(fault) == kind
