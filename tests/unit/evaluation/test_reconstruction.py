"""Scenes to codes and back: the error's figure, and what the reader makes of the result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janus_edge.evaluation.options import Options
from janus_edge.evaluation.reconstruction import psnr_db, reconstruct, scenes, shows
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.reader import Reading, read
from janus_edge.shapes.scene import Background, Item, Scene
from tests.unit.evaluation.fakes import FakeJanus

OPTIONS = Options(scenes=6, prompts=1, questions=1)
SCENE = Scene((Item("star", "red", 20, 20, 9), Item("ring", "blue", 44, 40, 9)), Background("grey"))


def test_identity() -> None:
    """A model that loses nothing: 200 dB, the cap, and every scene is read right."""
    told: list[Any] = []
    found = reconstruct(FakeJanus(OPTIONS), OPTIONS, lambda *p: told.append(p))  # type: ignore[arg-type]
    assert found.psnr_db == (200.0,) * 6
    assert found.mean_psnr_db == 200
    assert (found.legible.right, found.legible.total) == (6, 6)
    assert told == [(i, 6) for i in range(7)]


def test_blank() -> None:
    """A model that forgets every second scene: half are read, and the mean is of both halves."""

    class Forgetful(FakeJanus):
        def decode(self, codes: Image.Image) -> Image.Image:
            self.asked += 1
            return codes if self.asked % 2 else Image.new("RGB", codes.size)

    found = reconstruct(Forgetful(OPTIONS), OPTIONS)  # type: ignore[arg-type]
    assert (found.legible.right, found.legible.total) == (3, 6)
    assert [figure == 200 for figure in found.psnr_db] == [True, False] * 3
    assert found.mean_psnr_db == pytest.approx(sum(found.psnr_db) / 6)


def test_psnr() -> None:
    """An error of 16 everywhere is 20 log10(255 / 16) = 24.05 dB, in either direction."""
    low, high = (np.full((64, 64, 3), value, np.uint8) for value in (100, 116))
    assert psnr_db(low, high) == psnr_db(high, low) == pytest.approx(24.0484, abs=1e-4)


def test_scenes() -> None:
    """The seed chooses them; the first n of more are the same."""
    assert scenes(OPTIONS)[:2] == scenes(replace(OPTIONS, scenes=2))
    assert scenes(OPTIONS)[0] != scenes(replace(OPTIONS, seed=1))[0]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"x": 22}, True),
        ({"x": 24}, False),
        ({"radius": 11}, True),
        ({"radius": 12}, False),
        ({"shape": "cross"}, False),
        ({"colour": "pink"}, False),
    ],
)
def test_shows(change: dict[str, Any], same: bool) -> None:
    """Looks exactly, places within 3 pixels, radii within 2."""
    reading = read(draw(SCENE))
    assert shows(SCENE, reading)
    star, ring = SCENE.items
    assert shows(Scene((replace(star, **change), ring), SCENE.background), reading) is same


def test_nothing_more_and_nothing_unclear() -> None:
    reading = read(draw(SCENE))
    assert not shows(SCENE, replace(reading, unclear=1))
    assert not shows(SCENE, Reading(reading.items[:1], 0))
    assert not shows(Scene(SCENE.items[:1], SCENE.background), reading)
