"""When each call of the runtime begins and ends: wrappers around what it calls.

The decoding loops see a :class:`Backend` as any other. Noting a call takes two readings of the
clock and an append, about half a microsecond, which counts to the loop and not to the call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.graphs import Graph
from janus_edge.runtime.kv_cache import cache_dtype
from janus_edge.runtime.prompts import Tokenizer
from janus_edge.runtime.session import Backend, Call, Session
from janus_edge.runtime.text_embeddings import TextEmbeddings

#: Nanoseconds from any beginning.
Clock = Callable[[], int]

#: What is noted besides the graphs, which are noted by their names.
TOKENISE, DETOKENISE, TEXT_EMBEDDING = "tokenise", "detokenise", "text_embedding"
OPEN, CALLER = "open", "caller"

#: A code from a backend that paints as a whole: its graphs run behind one launch.
PAINTED = "painted_step"


@dataclass(frozen=True, slots=True)
class Binding:
    """What a call of the language model is bound to.

    ``rows`` [B] take ``new`` tokens each into a cache of ``capacity`` positions, of which each takes
    ``position_bytes`` in all rows and layers together.
    """

    rows: int
    new: int
    capacity: int
    position_bytes: int


@dataclass(frozen=True, slots=True)
class Event:
    """A call from ``begin`` to ``end`` in nanoseconds; ``detail`` is the graph that was opened."""

    what: str
    begin: int
    end: int
    binding: Binding | None = None
    detail: str = ""

    @property
    def nanoseconds(self) -> int:
        """How long it took."""
        return self.end - self.begin


class Recorder:
    """The events of one request after another, in the order in which they ended."""

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        self.clock = clock
        self._events: list[Event] = []

    @contextmanager
    def note(self, what: str, detail: str = "") -> Iterator[None]:
        """Note the block as one event; a block that raises is not noted."""
        begin = self.clock()
        yield
        self._events.append(Event(what, begin, self.clock(), None, detail))

    def timed(self, what: str, call: Call, binding: Binding | None = None) -> Call:
        """``call``, noted each time."""
        clock, append = self.clock, self._events.append

        def timed() -> None:
            begin = clock()
            call()
            append(Event(what, begin, clock(), binding))

        return timed

    def take(self) -> tuple[Event, ...]:
        """The events since the last time, which are forgotten here."""
        events = tuple(self._events)
        self._events.clear()  # in place: the timed calls hold this very list
        return events


class TimedSession:
    """A session whose bound calls are noted under the name of its graph."""

    def __init__(self, graph: Graph, session: Session, recorder: Recorder) -> None:
        self._graph, self._session, self._recorder = graph, session, recorder

    def bind(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> Call:
        """As :meth:`Session.bind`."""
        call = self._session.bind(inputs, outputs)
        binding = _binding(inputs) if self._graph is Graph.LANGUAGE_MODEL else None
        return self._recorder.timed(self._graph.value, call, binding)


class TimedBackend:
    """A backend whose sessions are timed; ``inner`` does the work."""

    def __init__(self, inner: Backend, recorder: Recorder) -> None:
        self.inner, self._recorder = inner, recorder
        self.float_dtype: np.dtype[Any] = inner.float_dtype
        self.cache_dtype = cache_dtype(inner)
        self._sessions: dict[Graph, TimedSession] = {}

    def session(self, graph: Graph) -> TimedSession:
        """As :meth:`Backend.session`; opening is noted too."""
        if graph not in self._sessions:
            with self._recorder.note(OPEN, graph.value):
                inner = self.inner.session(graph)
            self._sessions[graph] = TimedSession(graph, inner, self._recorder)
        return self._sessions[graph]

    def close(self) -> None:
        """As :meth:`Backend.close`."""
        self._sessions.clear()
        self.inner.close()


class TimedPainter(TimedBackend):
    """A timed backend with a loop of its own for painting, of which each code is noted.

    It may hand out ``every`` codes at once: then only their mean time means something.
    """

    def __init__(self, inner: Any, recorder: Recorder) -> None:
        super().__init__(inner, recorder)
        self._painter = inner
        self.every: int = getattr(inner, "fetch_every", 1)

    def image_codes(self, config: Any, request: Any) -> Iterator[NDArray[np.int64]]:
        """As the backend's own ``image_codes``."""
        codes = self._painter.image_codes(config, request)
        try:
            while True:
                with self._recorder.note(PAINTED):
                    code = next(codes)
                yield code
        except StopIteration:
            return
        finally:
            codes.close()


def timed_backend(inner: Backend, recorder: Recorder) -> TimedBackend:
    """``inner`` with a clock around its calls, and its own loop for painting if it has one."""
    return (TimedPainter if hasattr(inner, "image_codes") else TimedBackend)(inner, recorder)


class TimedTokenizer(Tokenizer):
    """A tokenizer whose calls are noted; no token is its EOS, so that an answer has all its tokens."""

    def __init__(self, inner: Tokenizer, recorder: Recorder) -> None:
        vars(self).update(vars(inner))
        self._recorder = recorder
        self.special = replace(inner.special, eos=-1)

    def encode(self, text: str) -> list[int]:
        """As :meth:`Tokenizer.encode`."""
        with self._recorder.note(TOKENISE):
            return super().encode(text)

    def decode(self, ids: Any, skip_special: bool = True) -> str:
        """As :meth:`Tokenizer.decode`."""
        with self._recorder.note(DETOKENISE):
            return super().decode(ids, skip_special)


class TimedEmbeddings(TextEmbeddings):
    """Text embeddings whose look-ups are noted."""

    def __init__(self, inner: TextEmbeddings, recorder: Recorder) -> None:
        vars(self).update(vars(inner))
        self._recorder = recorder

    def __call__(self, ids: Any) -> NDArray[Any]:
        """As :meth:`TextEmbeddings.__call__`."""
        with self._recorder.note(TEXT_EMBEDDING):
            return super().__call__(ids)


def _binding(inputs: Mapping[str, NDArray[Any]]) -> Binding:
    """Rows, tokens and cache of a call of the language model, from the buffers that it is given."""
    rows, new = inputs["inputs_embeds"].shape[:2]
    # `past_lengths` has one dimension; keys and values are [B, heads, C, D]
    caches = [a for name, a in inputs.items() if name.startswith("past_") and a.ndim > 2]
    capacity = caches[0].shape[2] if caches else 0
    return Binding(rows, new, capacity, sum(a.nbytes // a.shape[2] for a in caches))
