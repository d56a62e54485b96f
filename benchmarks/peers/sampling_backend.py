"""A backend that keeps a sample of what each graph is given while the real loop runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from feeds import Feeds
from numpy.typing import NDArray

from janus_edge.bundle import Bundle
from janus_edge.calib.operands import operands
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.session import Call, OrtCpuBackend, Session

Array = NDArray[Any]
#: A head's call holds a row or two, a picture's hundreds: heads keep so many times more calls.
_HEADS = {Graph.IMAGE_HEAD: 16, Graph.TEXT_HEAD: 16}


class Reservoir:
    """A uniform sample of at most ``size`` of everything that is offered, drawn from ``seed``.

    Algorithm R of Vitter, "Random sampling with a reservoir" (1985).
    """

    def __init__(self, size: int, seed: tuple[int, ...]) -> None:
        self.kept: Feeds = []
        self.offered = 0
        self._size, self._rng = size, np.random.default_rng(seed)

    def offer(self, copied: Callable[[], dict[str, Array]]) -> None:
        """``copied`` makes the copy, and is called only if it is kept."""
        self.offered += 1
        if len(self.kept) < self._size:
            self.kept.append(copied())
            return
        place = int(self._rng.integers(self.offered))
        if place < self._size:
            self.kept[place] = copied()


class SamplingBackend:
    """ONNX Runtime on the CPU; ``samples`` has a reservoir for each graph that has weights.

    Of most graphs whole calls are kept. The language model's calls have many shapes, from a prompt
    to one token, which the libraries cannot join: of it, windows of ``tokens`` successive tokens of
    one row are kept, with the true cache before them. A call with such a window computes what the
    loop's own calls computed for these tokens. The windows of a row are side by side from its first
    token, and the last one ends with the row. Raises InputError for rows of unequal length.
    """

    def __init__(
        self, bundle: Bundle, *, calls: int, tokens: int, seed: int = 0, threads: int = 0
    ) -> None:
        self._plain = OrtCpuBackend(bundle, threads=threads)
        self.float_dtype = self._plain.float_dtype
        self.samples = {
            graph: Reservoir(calls * _HEADS.get(graph, 1), (73, seed, number))
            for number, graph in enumerate(Graph)
            if operands(bundle.graph(graph))
        }
        self.rows = Rows(self.samples[Graph.LANGUAGE_MODEL], tokens)

    def session(self, graph: Graph) -> Session:
        plain = self._plain.session(graph)
        if graph is Graph.LANGUAGE_MODEL:
            return _Sampled(plain, self.rows.add)
        if graph in self.samples:
            sample = self.samples[graph]
            return _Sampled(
                plain, lambda given: sample.offer(lambda: {k: v.copy() for k, v in given.items()})
            )
        return plain

    def close(self) -> None:
        self.rows.end()
        self._plain.close()


class Rows:
    """Puts the language model's calls together to whole rows, and samples windows of them."""

    def __init__(self, sample: Reservoir, tokens: int) -> None:
        self._sample, self._tokens = sample, tokens
        self._embeds: list[Array] = []
        self._cache: dict[str, Array] = {}
        self.too_short = 0

    def add(self, given: Mapping[str, Array]) -> None:
        """Inputs of a call that is about to run; the graph writes its cache in place."""
        lengths = given["past_lengths"]
        if not lengths.any():
            self.end()
            self._cache = {n: a for n, a in given.items() if n.startswith("past_") and a.ndim == 4}
        if (lengths != sum(e.shape[1] for e in self._embeds)).any():
            raise InputError(
                "the language model went on from another length than it had got to; "
                "record one prompt at a time"
            )
        self._embeds.append(given["inputs_embeds"].copy())

    def end(self) -> None:
        """Offer the windows of the rows that are complete now."""
        if not self._embeds:
            return
        embeds, tokens = np.concatenate(self._embeds, axis=1), self._tokens  # [B, S, H]
        self._embeds = []
        last = embeds.shape[1] - tokens
        if last < 0:
            self.too_short += len(embeds)
            return
        for row in range(len(embeds)):
            for start in (*range(0, last, tokens), last):
                self._sample.offer(partial(self._window, embeds, row, start))

    def _window(self, embeds: Array, row: int, start: int) -> dict[str, Array]:
        """A call of one row; its cache has no room yet for what the call will write."""
        return {
            "inputs_embeds": embeds[row : row + 1, start : start + self._tokens].copy(),
            "past_lengths": np.array([start], np.int64),
            **{n: a[row : row + 1, :, :start].copy() for n, a in self._cache.items()},
        }

    def feeds(self) -> Feeds:
        """The windows with caches [1, heads, C, D] of one capacity, zeros behind what is filled."""
        kept = self._sample.kept
        capacity = max((int(f["past_lengths"][0]) for f in kept), default=0) + self._tokens
        return [
            {n: _extended(a, capacity) if n in self._cache else a for n, a in feed.items()}
            for feed in kept
        ]


class _Sampled:
    """A session whose inputs are shown before each call."""

    def __init__(self, plain: Session, show: Callable[[Mapping[str, Array]], None]) -> None:
        self._plain, self._show = plain, show

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Call:
        call, given = self._plain.bind(inputs, outputs), dict(inputs)

        def shown() -> None:
            self._show(given)
            call()

        return shown


def _extended(cache: Array, capacity: int) -> Array:
    whole = np.zeros((*cache.shape[:2], capacity, cache.shape[3]), cache.dtype)
    whole[:, :, : cache.shape[2]] = cache
    return whole
