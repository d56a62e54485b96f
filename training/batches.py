"""Batches of both directions: prompts with the codes of their pictures, pictures with questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from dataset import Scenes
from miniature import CONFIG
from naming import LABELS, Names
from text import asking, opening, painting_ids, questions
from torch import Tensor

from janus_edge.runtime.prompts import Tokenizer, unconditional_ids
from janus_edge.shapes.questions import Question
from janus_edge.shapes.scene import COLOURS, SHAPES, Scene

_MOST_GUIDANCE = 6.0
_QUESTIONS = 16  # per picture
_CONVERSATIONS = 0.25  # share of pictures whose questions follow one another
_PATCH, _GRID = CONFIG.vision.patch_size, CONFIG.vision.grid


@dataclass
class Painting:
    """Rows of a prompt and its picture, padded on the right; P prompts, then U unconditional ones.

    ``ids`` int64 [P + U, S] where text is, ``codes`` int64 [P + U, S] where a code is and else -1,
    ``targets`` int64 [P + U, S]: the code that a position foretells, or -100. ``labels`` int64
    [P, 256, 2]: shape and colour of what each patch shows (0 none), ``fresh`` bool [P, 256]: where
    an object begins, so that no patch before it tells what it is; ``scales`` float32 [U]: guidance
    scales to train the pairs with; ``names`` int64 [P, S, 5]: what nouns name (`naming.py`);
    ``sources`` bool [P, S, S]: for a position that foretells a patch of an object, the nouns of it.
    """

    ids: Tensor
    codes: Tensor
    targets: Tensor
    labels: Tensor
    fresh: Tensor
    scales: Tensor
    names: Tensor
    sources: Tensor


@dataclass
class Asking:
    """Rows of a picture and questions about it.

    ``ids``, ``targets`` (the next token inside answers, or -100) and ``positions`` int64 [B, S],
    ``mask`` bool [B, 1, S, S], ``pixels`` float32 [B, 3, 64, 64]; ``sources`` bool [B, S, S]: for
    a position that foretells a token of an answer, the patches of what the question speaks of.
    """

    ids: Tensor
    targets: Tensor
    positions: Tensor
    mask: Tensor
    pixels: Tensor
    sources: Tensor


def paintings(
    scenes: Scenes, codes: np.ndarray, tokenizer: Tokenizer, step: int, size: int, paired: int
) -> Painting:
    """The prompts and codes [n, 256] of ``size`` scenes drawn for this step.

    Behind them the first ``paired`` of them again, with the runtime's unconditional prompt.
    """
    rng = np.random.default_rng([21, step])
    rows, shown = [], []
    for index in rng.integers(0, len(codes), size):
        shown.append(scenes.scene(int(index)))
        rows.append((painting_ids(tokenizer, shown[-1], rng), codes[index]))
    return painting_batch(rows, shown, tokenizer, paired, rng)


def painting_batch(
    rows: list[tuple[list[int], np.ndarray]],
    shown: list[Scene],
    tokenizer: Tokenizer,
    paired: int,
    rng: np.random.Generator,
) -> Painting:
    """A batch of prompts with the codes [256] of their pictures, which show ``shown``."""
    size, count = len(rows), CONFIG.image_tokens
    rows = rows + [(unconditional_ids(ids, tokenizer.special), own) for ids, own in rows[:paired]]
    length = max(len(ids) for ids, _ in rows) + count - 1
    batch = np.zeros((3, len(rows), length), np.int64)
    batch[1], batch[2] = -1, -100
    for i, (ids, own) in enumerate(rows):
        start, stop = len(ids), len(ids) + len(own) - 1
        batch[0, i, :start] = ids
        batch[1, i, start:stop] = own[:-1]
        batch[2, i, start - 1 : stop] = own
    shows = np.stack([patch_labels(scene)[:, :2] for scene in shown])
    scales = rng.uniform(1, _MOST_GUIDANCE, paired).astype(np.float32)
    names, reader = np.full((size, length, len(LABELS)), -1), Names(tokenizer)
    sources = np.zeros((size, length, length), bool)
    for i, (ids, _) in enumerate(rows[:size]):
        found = reader(ids)
        names[i, : len(ids)] = found
        shape, colour = shows[i, :, :1], shows[i, :, 1:2]
        fits = (found[:, 0] == shape) & ((found[:, 1] == 0) | (found[:, 1] == colour))
        sources[i, len(ids) - 1 : len(ids) + count - 1, : len(ids)] = fits
    arrays = (*batch, shows, fresh_patches(shows[..., 0] > 0), scales, names, sources)
    return Painting(*map(torch.from_numpy, arrays))


def askings(scenes: Scenes, tokenizer: Tokenizer, step: int, size: int) -> Asking:
    """Pictures with sixteen questions each, most of them asked as if each were the first."""
    rng = np.random.default_rng([22, step])
    chosen = np.sort(rng.integers(0, len(scenes), size))
    shown = [scenes.scene(int(i)) for i in chosen]
    return asking_batch(shown, scenes.pictures[chosen], tokenizer, rng, questions)


def asking_batch(
    shown: list[Scene],
    pictures: np.ndarray,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    questions_of: Callable[[Scene, int, np.random.Generator], list[Question]],
) -> Asking:
    """Pictures uint8 [B, 64, 64, 3] of scenes with sixteen questions each."""
    size, begin = len(shown), opening(tokenizer)
    patches = np.flatnonzero(np.array(begin) == tokenizer.special.image_placeholder)
    rows = [_row(questions_of(s, _QUESTIONS, rng), tokenizer, begin, rng) for s in shown]
    length = max(len(row[0]) for row in rows)
    ids, positions = np.zeros((2, size, length), np.int64)
    targets = np.full((size, length), -100, np.int64)
    blocks = np.full((size, length), -1, np.int64)
    sources, reader = np.zeros((size, length, length), bool), Names(tokenizer)
    for i, (own, wanted, block, place) in enumerate(rows):
        n = len(own)
        shows = patch_labels(shown[i])[:, :2]
        sources[i, :n, patches] = reader.asked(own, wanted, shows).T
        ids[i, :n], targets[i, :n], blocks[i, :n], positions[i, :n] = own, wanted, block, place
    causal = np.tri(length, dtype=bool)
    same = blocks[:, :, None] == blocks[:, None, :]
    mask = causal & (same | (blocks[:, None, :] == 0))
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    arrays = map(torch.from_numpy, (ids, targets, positions, mask[:, None]))
    return Asking(*arrays, pixels, torch.from_numpy(sources))


def _row(
    asked: list[Question], tokenizer: Tokenizer, begin: list[int], rng: np.random.Generator
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Ids, targets, blocks (0 is seen by all) and positions of one picture's questions."""
    together = rng.random() < _CONVERSATIONS
    ids, targets, blocks = list(begin), [-100] * len(begin), [0] * len(begin)
    positions = list(range(len(begin)))
    for number, question in enumerate(asked):
        before, answer = asking(tokenizer, question, first=number == 0 or not together)
        own = before + answer
        start = len(ids) if together else len(begin)
        positions += range(start, start + len(own))
        blocks += [0 if together else number + 1] * len(own)
        ids += own
        targets += [-100] * (len(before) - 1) + answer + [-100]
    return ids, targets, blocks, positions


def fresh_patches(covered: np.ndarray) -> np.ndarray:
    """Of patches bool [n, 256] that show an object, those without one left of them or above."""
    grid = np.pad(covered.reshape(-1, _GRID, _GRID), ((0, 0), (1, 0), (1, 1)))
    known = grid[:, 1:, :-2] | grid[:, :-1, :-2] | grid[:, :-1, 1:-1] | grid[:, :-1, 2:]
    return covered & ~known.reshape(covered.shape)


def patch_labels(shown: Scene) -> np.ndarray:
    """What each patch shows int64 [256, 3]: shape (0 none), colour (0 none), a centre (0, 1)."""
    labels = np.zeros((_GRID, _GRID, 3), np.int64)
    edges = np.arange(_GRID) * _PATCH
    for item in shown.items:
        spans = []
        for centre in (item.y, item.x):
            low = np.maximum(edges, centre - item.radius)
            high = np.minimum(edges + _PATCH, centre + item.radius)
            spans.append(np.maximum(high - low, 0))
        covered = np.outer(*spans) >= 0.3 * _PATCH * _PATCH
        labels[covered, 0] = 1 + SHAPES.index(item.shape)
        labels[covered, 1] = 1 + list(COLOURS).index(item.colour)
    for item in shown.items:
        labels[item.y // _PATCH, item.x // _PATCH] = (
            1 + SHAPES.index(item.shape), 1 + list(COLOURS).index(item.colour), 1,
        )  # fmt: skip
    return labels.reshape(-1, 3)
