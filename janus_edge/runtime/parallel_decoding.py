"""Image codes, several per pass: the very codes of the sequential loop, in fewer passes.

With its noise fixed by (seed, picture, position), decoding is a deterministic map: code t is
``F_t(c_0 .. c_{t-1})``, the place of the largest of guided logits / temperature + noise at t. A pass
takes the last code that is known, c_{n-1}, and guesses g_n .. g_{n+W-2} for those behind it; one
run of the language model over these W positions gives all of
``y_t = F_t(c_0 .. c_{n-1}, g_n .. g_{t-1})``, t = n .. n+W-1.

*Law.* y_n = c_n whatever was guessed; and if g_s = y_s for all s from n to t-1, then y_t = c_t.
*Proof*, by induction over t. y_n is F_n of known codes. If the guesses before t equal the choices,
and these are the codes, then y_t = F_t(c_0 .. c_{t-1}) = c_t.

So the longest prefix in which guess and choice agree is accepted, together with the choice behind
it: every pass gains at least one code, and none that the sequential loop would not have drawn.
Choices behind the first disagreement may be the next guesses (Jacobi iteration, whose only fixed point
is the picture), or a :data:`Guess` guesses them anew from the codes that are known by now, as it does
positions seen for the first time: the law holds for any guesses, and a :class:`Source` decides by what
passes gained. Keys and values
of accepted codes were computed from accepted codes, so they are right; those of a refuted guess lie
behind the row's length, are not attended, and are overwritten. The law holds for exact arithmetic:
a kernel that sums W rows in another order than one row may turn the choice between two codes whose
scores differ by less than its rounding.

Sources: Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation
Solving", 2021; Wiggers and Hoogeboom, "Predictive Sampling with Forecasting Autoregressive Models",
2020 (noise fixed ahead); Teng et al., "Accelerating Auto-regressive Text-to-Image Generation with
Training-free Speculative Jacobi Decoding", 2024 (arXiv 2410.01699) and arXiv 2510.24211 (coupled).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.config import JanusConfig
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.noise import gumbel
from janus_edge.runtime.guesses import Frontier, Guess, Source, continued
from janus_edge.runtime.image_decoding import ImageRequest, prefill, require_finite
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.session import Backend

#: Refuted guesses are likely beyond; wider passes cost more than they gain on every machine tried.
MAX_WINDOW = 64


class Window:
    """Buffers and bindings of a pass over ``width`` positions of every picture on one cache.

    ``codes`` [P, W] go in, ``choices`` [P, W] come out; ``noise`` [P, W, K] belongs to the choices.
    """

    def __init__(
        self,
        config: JanusConfig,
        backend: Backend,
        cache: KVCache,
        width: int,
        request: ImageRequest,
    ) -> None:
        rows, size = cache.rows * width, config.vq.codebook_size
        self.width, self._greedy = width, request.temperature == 0
        self._scale = np.float32(request.guidance_scale)
        self._temperature = np.float32(1.0 if self._greedy else request.temperature)
        self.codes = np.zeros((cache.rows // 2, width), np.int64)
        self.choices = np.zeros_like(self.codes)
        self.noise = np.zeros((*self.codes.shape, size), np.float32)
        self._logits = np.zeros((rows, size), backend.float_dtype)
        self._step = LanguageModel(backend.session(Graph.LANGUAGE_MODEL)).plan(cache, width)
        hidden = config.language.hidden_size
        # pictures and positions are one axis to the graphs around the language model
        self._embed = backend.session(Graph.IMAGE_EMBEDDING).bind(
            {"image_codes": self.codes.reshape(-1)},
            {"inputs_embeds": self._step.inputs_embeds.reshape(rows, 1, hidden)},
        )
        self._head = backend.session(Graph.IMAGE_HEAD).bind(
            {"hidden_states": self._step.hidden_states.reshape(rows, hidden)},
            {"logits": self._logits},
        )
        self._sample = backend.session(Graph.GUIDED_SAMPLER).bind(
            {
                "logits": self._logits,
                "guidance_scale": np.array(self._scale),
                "temperature": np.array(self._temperature),
                "noise": self.noise.reshape(-1, size),
            },
            {"image_codes": self.choices.reshape(-1)},
        )

    def run(self, hidden: NDArray[Any] | None = None) -> None:
        """From ``codes`` to ``choices``; or from hidden states [2P, H] at hand (W = 1)."""
        if hidden is None:
            self._embed()
            self._step.run()
        else:
            self._step.hidden_states[:, 0] = hidden
        self._head()
        require_finite(self._logits)
        self._sample()

    def scores(self, picture: int, place: int) -> NDArray[np.float32]:
        """Guided logits over the temperature [K] of one picture at one place of the window."""
        row = picture * self.width + place
        cond, uncond = self._logits[[row, row + len(self._logits) // 2]].astype(np.float32)
        found: NDArray[np.float32] = (uncond + self._scale * (cond - uncond)) / self._temperature
        return found


class ParallelDecoder:
    """One request's pictures, each as far as its guesses came true.

    ``drawn`` [P, T] int64 holds the codes, of which the first ``known[p]`` of picture p are final.
    ``passes`` counts runs of the language model over codes (the prefill is none). ``width`` may be
    changed between passes, up to ``widest``. ``source`` makes the :class:`Source` of each picture.
    """

    def __init__(
        self, config: JanusConfig, backend: Backend, request: ImageRequest, width: int,
        widest: int | None = None, guess: Guess = continued, source: Callable[[], Source] = Source,
    ) -> None:  # fmt: skip
        longest = max(len(row) for pair in request.prompts for row in pair)
        room = config.language.max_positions - longest - (config.image_tokens - 2)
        self.widest = widest or width
        if not 1 <= width <= self.widest <= MAX_WINDOW:
            raise InputError(f"a window is from 1 to {MAX_WINDOW} codes wide, found {width}")
        width, self.widest = min(width, max(room, 1)), min(self.widest, max(room, 1))
        self._config, self._backend, self._request, self._guess = config, backend, request, guess
        self._total, pictures = config.image_tokens, len(request.prompt_of)
        # a window that begins at the last code but one reaches beyond the picture's end
        self._cache, hidden = prefill(config, backend, request, self._total - 2 + self.widest)
        self._pictures = list(range(pictures))  # those in the cache, by their place in it
        self._begin = self._cache.lengths.copy()
        self._windows: dict[int, Window] = {}
        self._sources = [source() for _ in range(pictures)]
        self._noises: list[dict[int, NDArray[np.float32]]] = [{} for _ in range(pictures)]
        self.drawn = np.zeros((pictures, self._total), np.int64)
        self.known = np.zeros(pictures, np.int64)
        self.passes, self.width = 0, 1
        window = self._window()
        for picture in range(pictures):
            window.noise[picture, 0] = self._noise(picture, 0)
        window.run(hidden)
        self.width = width
        for picture in range(pictures):
            self._accept(picture, picture, window, 1)

    @property
    def pictures(self) -> int:
        """How many pictures a pass computes."""
        return len(self._pictures)

    @property
    def finished(self) -> bool:
        """All codes of all pictures are known."""
        return not self._pictures

    def advance(self) -> NDArray[np.int64]:
        """One pass; returns the number of codes that it gained of each picture [P]."""
        before, window = self.known.copy(), self._window()
        for place, picture in enumerate(self._pictures):
            known = int(self.known[picture])
            inside = self.drawn[picture, known - 1 : known - 1 + window.width]
            window.codes[place, : len(inside)] = inside
            for ahead in range(min(window.width, self._total - known)):
                window.noise[place, ahead] = self._noise(picture, known + ahead)
        window.run()
        self.passes += 1
        for place, picture in enumerate(self._pictures):
            known = int(self.known[picture])
            if known < self._total:
                guessed = self.drawn[picture, known : known - 1 + window.width]
                agree = window.choices[place, : len(guessed)] == guessed
                count = min(1 + int(np.argmin([*agree, False])), self._total - known)
                self._sources[picture].note(count)
                self._accept(place, picture, window, count)
        self._compact()
        return self.known - before

    def _accept(self, place: int, picture: int, window: Window, count: int) -> None:
        """Take ``count`` of a window's choices as codes; guess those behind, or behind all choices."""
        begin, known = int(self.known[picture]), int(self.known[picture]) + count
        seen = min(begin + window.width, self._total)
        self.drawn[picture, begin:seen] = window.choices[place, : seen - begin]
        self.known[picture] = known
        for row in (place, place + len(self._pictures)):
            # a finished picture's last position is computed again, into the same place
            self._cache.lengths[row] = self._begin[row] + min(known, self._total - 1) - 1
        for position in [p for p in self._noises[picture] if p < known]:
            del self._noises[picture][position]
        first = known if self._sources[picture].anew else seen
        scores = window.scores(place, first - begin - 1)
        for position in range(first, min(known - 1 + self.width, self._total)):
            codes, noise = self.drawn[picture, :position], self._noise(picture, position)
            at = Frontier(codes, noise, scores, math.isqrt(self._total))
            self.drawn[picture, position] = self._guess(at)

    def _compact(self) -> None:
        """Give the rows of finished pictures up once they are half of all."""
        left = [i for i, picture in enumerate(self._pictures) if self.known[picture] < self._total]
        if 2 * len(left) > len(self._pictures):
            return
        rows = [*left, *(len(self._pictures) + i for i in left)]
        self._pictures = [self._pictures[i] for i in left]
        self._windows.clear()
        if rows:
            self._begin = self._begin[rows]
            self._cache = self._cache.fan_out(rows, self._cache.capacity)

    def _window(self) -> Window:
        """The pass of the present width, made when it is first needed."""
        if self.width not in self._windows:
            self._windows[self.width] = Window(
                self._config, self._backend, self._cache, self.width, self._request
            )
        return self._windows[self.width]

    def _noise(self, picture: int, position: int) -> NDArray[np.float32]:
        """The noise [K] of a code, kept as long as the code is not known."""
        kept, request = self._noises[picture], self._request
        if position not in kept:
            size = self._config.vq.codebook_size
            kept[position] = (
                np.zeros(size, np.float32)
                if request.temperature == 0
                else gumbel(request.seeds[picture], request.indices[picture], position, size)
            )
        return kept[position]
