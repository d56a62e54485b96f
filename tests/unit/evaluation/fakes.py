"""A Janus without a model: it paints and answers the truth unless it is told to err."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from janus_edge.evaluation.answering import questions
from janus_edge.evaluation.options import Options
from janus_edge.evaluation.painting import rounds
from janus_edge.runtime.generation import Parallel
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.prompts import Prompt
from janus_edge.shapes.questions import KINDS
from janus_edge.shapes.scene import COLOURS, Background, Item, Scene, place, related

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
#: (prompt, seed, guidance scale) -> whether and how the picture is wrong
Err = Callable[[Prompt, int, float], Callable[[Scene], Pixels] | None]


def scene_of(prompt: Prompt) -> Scene:
    """A scene that shows ``prompt`` on white."""
    looks = [(shape, colour or "blue") for shape, colour in prompt.wanted]

    def clear(items: tuple[Item, ...]) -> bool:
        away = items[0].x - items[-1].x, items[0].y - items[-1].y
        return prompt.relation is None or related(prompt.relation, *away)

    return Scene(place(looks, np.random.default_rng(7), clear), Background("white"))


def empty(scene: Scene) -> Pixels:
    return draw(Scene((), scene.background))


def noise(scene: Scene) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (64, 64, 3)).astype(np.uint8)


def recoloured(scene: Scene) -> Pixels:
    """Every colour replaced by the next one."""
    names = [*COLOURS, *COLOURS]
    items = (
        Item(i.shape, names[names.index(i.colour) + 1], i.x, i.y, i.radius) for i in scene.items
    )
    return draw(Scene(tuple(items), scene.background))


def never(prompt: Prompt, seed: int, scale: float) -> None:
    return None


class FakeJanus:
    """Knows the prompts and the questions of ``options``; ``lie`` changes the n-th answer."""

    def __init__(
        self,
        options: Options,
        err: Err = never,
        lie: Callable[[int, str], str] = lambda number, truth: truth,
        side: int = 64,
    ) -> None:
        self.bundle = SimpleNamespace(
            path=Path("fake-bundle"),
            digest="ab" * 32,
            manifest=SimpleNamespace(
                config=SimpleNamespace(image_size=side), recipe=SimpleNamespace(name="fp32")
            ),
        )
        self.painted: list[tuple[tuple[str, ...], tuple[int, ...], float]] = []
        self.parallel = set[Parallel]()
        self.asked = 0
        self._err, self._lie = err, lie
        self._prompts = {p.text: p for once in rounds(options) for p in once}
        self._truths = {
            (draw(scene).tobytes(), asked.text): asked.answer
            for kind in KINDS
            for scene, asked in questions(kind, options.questions, options.seed)
        }

    def __enter__(self) -> FakeJanus:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def generate(
        self, prompt: Sequence[str], *, seed: Sequence[int], guidance_scale: float,
        temperature: float, parallel: Parallel,
    ) -> list[Any]:  # fmt: skip
        assert temperature == 1
        self.parallel.add(parallel)
        self.painted.append((tuple(prompt), tuple(seed), guidance_scale))
        pictures = []
        for text, own in zip(prompt, seed, strict=True):
            known = self._prompts[text]
            make = self._err(known, own, guidance_scale) or draw
            image = Image.fromarray(make(scene_of(known)))
            codes = np.asarray(image, np.int64)[::4, ::4].sum(-1).ravel()
            pictures.append(SimpleNamespace(image=image, codes=codes))
        return pictures

    def describe(self, image: Image.Image, question: str, max_new_tokens: int) -> Any:
        assert max_new_tokens >= 32
        truth = self._truths[np.asarray(image).tobytes(), question]
        self.asked += 1
        return SimpleNamespace(text=self._lie(self.asked - 1, truth))

    def encode(self, image: Image.Image) -> Image.Image:
        return image

    def decode(self, codes: Image.Image) -> Image.Image:
        return codes
