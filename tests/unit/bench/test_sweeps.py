"""Sweeps on the fake model: what each point is, and what is refused before the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from janus_edge.bench.options import Options
from janus_edge.bench.sweeps import Sweeper
from janus_edge.errors import CapacityError, InputError
from janus_edge.runtime.pipeline import Janus
from tests.unit.runtime.fakes import CONFIG, FakeBackend, fake_janus


@pytest.fixture
def janus(tmp_path: Path) -> Janus:
    return fake_janus(tmp_path / "fake", FakeBackend())


def options(**sweeps: tuple[int, ...]) -> Options:
    return Options(sweeps=sweeps, sweep_steps=3, repetitions=2)


def test_points(janus: Janus) -> None:
    """Each has the rows, the prompt or the cache that it was asked for."""
    ticks: list[int] = []
    sweeper = Sweeper(
        janus, options(pictures=(1, 3), prompts=(2,), prompt_length=(200, 300), capacity=(320, 640))
    )
    found = {(s.name, s.mode): s.points for s in sweeper.run(lambda: ticks.append(1))}
    assert [*found] == [
        ("pictures", "image"),
        ("prompts", "image"),
        ("prompt_length", "image"),
        ("prompt_length", "text"),
        ("capacity", "text"),
    ]
    assert [(p.value, p.rows, p.pictures) for p in found["pictures", "image"]] == [
        (1, 2, 1),
        (3, 6, 3),
    ]
    assert [(p.rows, p.pictures) for p in found["prompts", "image"]] == [(4, 2)]
    assert [p.prompt_tokens for p in found["prompt_length", "image"]] == [200, 300]
    assert [p.capacity for p in found["capacity", "text"]] == [320, 640]
    for points in found.values():
        for point in points:
            assert point.step.count == 2 * 2, "two steps behind the first, twice"
            assert point.prefill.count == 2
            assert point.tokens_per_second == pytest.approx(point.pictures / point.step.median)
            assert point.language_model.median < point.step.median
    assert 0 < len(ticks) <= sweeper.ticks


def test_codes_of_a_pass(janus: Janus) -> None:
    """A point per width; of a pass that gains several codes, the codes are counted."""
    (sweep,) = Sweeper(janus, options(parallel=(1, 8))).run(lambda: None)
    one, eight = sweep.points
    assert (one.value, one.codes_per_step, one.step.count) == (1, 1.0, 2 * 2)
    assert one.tokens_per_second == pytest.approx(1 / one.step.median)
    assert (eight.value, eight.rows) == (8, 2)
    assert 1 <= eight.codes_per_step <= 8
    assert eight.step.count <= 2 * 2


def test_only_the_modes_asked_for(janus: Janus) -> None:
    chosen = Options(modes=("image",), sweeps={"prompt_length": (40,)})
    assert Sweeper(janus, chosen).planned == (("prompt_length", "image"),)


@pytest.mark.parametrize(
    ("sweeps", "error", "message"),
    [
        (
            {"capacity": (5,)},
            InputError,
            "capacity: 5 is not from .* to the model's 1024 positions",
        ),
        ({"capacity": (2048,)}, InputError, "capacity: 2048 is not from"),
        ({"prompt_length": (3,)}, InputError, "a prompt of 3 tokens: the template alone has"),
        ({"prompt_length": (40, 1024)}, CapacityError, "need .* positions, the model has 1024"),
    ],
)
def test_refused_before_the_first_point(
    janus: Janus, sweeps: dict[str, Any], error: type[Exception], message: str
) -> None:
    assert CONFIG.language.max_positions == 1024
    with pytest.raises(error, match=message):
        Sweeper(janus, options(**sweeps))


def test_a_question_that_is_too_long(janus: Janus) -> None:
    chosen = Options(modes=("text",), sweeps={"prompt_length": (1024,)}, sweep_steps=3)
    with pytest.raises(InputError, match="prompt_length: 1024 and 3 tokens behind it are more"):
        Sweeper(janus, chosen)
