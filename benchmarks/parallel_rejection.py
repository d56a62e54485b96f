"""Would drawing from the model's distribution, instead of the very codes of a seed, take fewer passes?

`parallel_decoding.py rejection` compares both. The deterministic decoder accepts a guess if it is the
model's own choice under the position's noise. Speculative Jacobi decoding (Teng et al., arXiv
2410.01699) accepts a draft x that was drawn from q with probability min(1, p(x) / q(x)) and draws from
max(p - q, 0) otherwise, which gives codes of distribution p; arXiv 2510.24211 draws drafts anew with
Gumbel noise kept per position, so that they stay the same while q changes little. A draft's q depends
on the codes before it only, the noise of its position on nothing, and each position is tested once:
so the draft has distribution q given all that was accepted, which the test needs. A first guess is a
draft of one possible code. The loop here measures passes; it is not part of the runtime.

With little noise of its own, the same is told from a deterministic run: each guess that it tests has
its p and, if a pass drew it, its q, and rejection sampling would accept it with the probability
``sum(min(p, q))``, or p(x) if it is a first guess. A guess that is not accepted ends a pass.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parallel_runs import SOURCES, requests, settings, told

from janus_edge.noise import gumbel
from janus_edge.runtime.guesses import GUESSES, Frontier, Guess, resampled
from janus_edge.runtime.image_decoding import ImageRequest, prefill
from janus_edge.runtime.parallel_decoding import ParallelDecoder, Window
from janus_edge.runtime.pipeline import Janus

#: Seed of the draws of the acceptance test.
_SEED = 20_261_123


def probabilities(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax of guided logits over the temperature [K]."""
    powers = np.exp(scores.astype(np.float64) - scores.max())
    found: NDArray[np.float64] = powers / powers.sum()
    return found


class RejectionDecoder:
    """Pictures of one batch by speculative Jacobi decoding; ``coupled`` keeps the noise of drafts."""

    def __init__(
        self, janus: Janus, request: ImageRequest, width: int, guess: Guess, coupled: bool
    ) -> None:
        config, backend = janus.bundle.manifest.config, janus.backend
        self._request, self._guess, self._width, self._coupled = request, guess, width, coupled
        self._total, pictures = config.image_tokens, len(request.prompt_of)
        self._cache, hidden = prefill(config, backend, request, self._total - 2 + width)
        self._begin = self._cache.lengths.copy()
        self._random = np.random.default_rng(_SEED)
        self._window = Window(config, backend, self._cache, width, request)
        self._drafted: list[dict[int, NDArray[np.float64]]] = [{} for _ in range(pictures)]
        self.drawn = np.zeros((pictures, self._total), np.int64)
        self.known = np.zeros(pictures, np.int64)
        first = Window(config, backend, self._cache, 1, request)
        first.run(hidden)
        for picture in range(pictures):
            self._settle(picture, first.scores, 1)

    @property
    def finished(self) -> bool:
        """All codes of all pictures are known."""
        return bool((self.known == self._total).all())

    def advance(self) -> NDArray[np.int64]:
        """One pass; returns the number of codes that it gained of each picture [P]."""
        before = self.known.copy()
        for picture, known in enumerate(self.known):
            inside = self.drawn[picture, known - 1 : known - 1 + self._width]
            self._window.codes[picture, : len(inside)] = inside
        self._window.run()
        for picture in range(len(self.known)):
            if self.known[picture] < self._total:
                self._settle(picture, self._window.scores, self._width)
        return self.known - before

    def _settle(
        self, picture: int, scores: Callable[[int, int], NDArray[np.float32]], width: int
    ) -> None:
        """Test the drafts that a pass looked at, draw the code behind them, and draft anew."""
        known, drafted = int(self.known[picture]), self._drafted[picture]
        seen = min(known + width, self._total)
        position = known
        while position < seen:
            logs, code = scores(picture, position - known), self.drawn[picture, position]
            position += 1
            if position == known + width:  # behind the window's drafts
                self.drawn[picture, position - 1] = self._draft(picture, position - 1, logs)[0]
                break
            p, q = probabilities(logs), drafted.pop(position - 1, None)
            if self._random.random() * (1.0 if q is None else q[code]) < p[code]:
                continue
            rest = p.copy() if q is None else np.maximum(p - q, 0)
            if q is None:
                rest[code] = 0
            self.drawn[picture, position - 1] = self._random.choice(len(rest), p=rest / rest.sum())
            break
        self.known[picture] = position
        pictures = len(self.known)
        for row in (picture, pictures + picture):
            self._cache.lengths[row] = self._begin[row] + min(position, self._total - 1) - 1
        for ahead in range(position, seen):
            logs = scores(picture, ahead - known)
            self.drawn[picture, ahead], drafted[ahead] = self._draft(picture, ahead, logs)
        end = scores(picture, seen - known - 1)
        for ahead in range(seen, min(position - 1 + self._width, self._total)):
            if self._guess is resampled:
                self.drawn[picture, ahead], drafted[ahead] = self._draft(picture, ahead, end)
                continue
            at = Frontier(self.drawn[picture, :ahead], end, end, math.isqrt(self._total))
            self.drawn[picture, ahead] = self._guess(at)

    def _draft(
        self, picture: int, position: int, scores: NDArray[np.float32]
    ) -> tuple[int, NDArray[np.float64]]:
        """A code drawn from the distribution of ``scores`` [K], and that distribution."""
        request = self._request
        noise = (
            gumbel(request.seeds[picture], request.indices[picture], position, len(scores))
            if self._coupled
            else self._random.gumbel(size=len(scores))
        )
        return int(np.argmax(scores + noise)), probabilities(scores)


class WatchedDecoder(ParallelDecoder):
    """The deterministic decoder, which notes of each guess that it tests what rejection would do.

    ``first`` and ``redrawn`` are [tested, accepted here, accepted by rejection in the mean].
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        self.first, self.redrawn = np.zeros(3), np.zeros(3)
        self._before: dict[tuple[int, int], NDArray[np.float64]] = {}
        super().__init__(*given, **named)

    def _accept(self, place: int, picture: int, window: Window, count: int) -> None:
        known, end = int(self.known[picture]), min(window.width, self._total - self.known[picture])
        guesses = self.drawn[picture, known : known + window.width - 1].copy()
        if self.passes:
            for ahead, guess in enumerate(guesses[:count].tolist()):
                p = probabilities(window.scores(place, ahead))
                q = self._before.pop((picture, known + ahead), None)
                mean = p[guess] if q is None else np.minimum(p, q).sum()
                noted = self.first if q is None else self.redrawn
                noted += (1, ahead < count - 1, mean)
        for ahead in range(count, end):
            if not self._sources[picture].anew:
                scores = window.scores(place, ahead)
                self._before[picture, known + ahead] = probabilities(scores)
        super()._accept(place, picture, window, count)


def rejection(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    """Passes of the deterministic decoder and of the two others, per setting, width and first guess."""
    total, rows = janus.bundle.manifest.config.image_tokens, []
    if min(given.temperature) <= 0:
        raise SystemExit("at temperature 0 there is no distribution to draw from")
    for scale, temperature in settings(given):
        asked = [*requests(janus, given.pictures, scale, temperature)]
        for width in given.width:
            for name in given.guesses:
                setting = {
                    "guess": name, "width": width, "guidance": scale, "temperature": temperature,
                }  # fmt: skip
                for way in WAYS:
                    rows.append(row(janus, way, asked, total, setting))
                    print(json.dumps(rows[-1]), file=sys.stderr)
    return {"sequential_passes": total - 1, "settings": rows}


#: Ways of decoding: the deterministic decoder with both sources of guesses behind a refuted one, and
#: rejection with the choices of the pass. (A guess made anew is a draft of one possible code, which
#: rejection accepts as often as the model's own choice is that code: it can gain nothing there.)
WAYS = ("anew", "choices", "rejection, coupled", "rejection")


def row(
    janus: Janus, way: str, asked: list[ImageRequest], total: int, setting: dict[str, Any]
) -> dict[str, Any]:
    """Passes of one way, and of the deterministic one what became of guesses."""
    each, first, redrawn = [], np.zeros(3), np.zeros(3)
    width, guess = setting["width"], GUESSES[setting["guess"]]
    for request in asked:
        decoder: RejectionDecoder | WatchedDecoder
        if way in SOURCES:
            config = janus.bundle.manifest.config
            decoder = WatchedDecoder(
                config, janus.backend, request, width, guess=guess, source=SOURCES[way]
            )
        else:
            decoder = RejectionDecoder(janus, request, width, guess, way == "rejection, coupled")
        passes = np.zeros(len(request.seeds), int)
        while not decoder.finished:
            passes += decoder.advance() > 0
        each.append(passes)
        if isinstance(decoder, WatchedDecoder):
            first, redrawn = first + decoder.first, redrawn + decoder.redrawn
    found = told(np.concatenate(each), total, way=way, **setting)
    if way in SOURCES:
        names = ("tested", "accepted", "rejection_would_accept")
        found["first_guesses"] = dict(zip(names, first.tolist(), strict=True))
        found["redrawn_guesses"] = dict(zip(names, redrawn.tolist(), strict=True))
    return found
