"""Events of a request -> its stages and its steps.

A step ends with the graph that yields a code or a token: the sampler in image mode, the text head
in text mode. What is left of it when its calls are taken off is the host's: the loop itself, split by
the call that it precedes. In text mode no graph draws the token: the time between the text head and
the detokeniser is the sampler's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from janus_edge.bench.recorder import (
    CALLER,
    DETOKENISE,
    OPEN,
    PAINTED,
    TOKENISE,
    Binding,
    Event,
)
from janus_edge.errors import BackendError
from janus_edge.graphs import Graph

#: The graph that ends a step.
LAST = {"image": Graph.GUIDED_SAMPLER.value, "text": Graph.TEXT_HEAD.value}
LANGUAGE_MODEL = Graph.LANGUAGE_MODEL.value
_GRAPHS = frozenset({PAINTED, *(graph.value for graph in Graph)})

#: Parts of a step that are no call: all of it; what the loop itself takes; drawing a text token; and
#: all that no graph computes, which contains these two and the look-ups of text.
TOTAL, HOST, TEXT_SAMPLER, OUTSIDE = "step", "host", "text_sampler", "outside"

#: Stages of a request that are no single call.
PREFILL, HOST_BEFORE_FIRST, REQUEST = "prefill", "host_before_first", "request"


@dataclass(frozen=True, slots=True)
class Step:
    """Nanoseconds of one step by part, of the host's share by the call behind it, and where it was.

    ``position`` is how far the cache was filled before it; ``width`` how many codes or tokens a row
    put into the language model.
    """

    parts: Mapping[str, int]
    gaps: Mapping[str, int]
    position: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """One request: nanoseconds of its stages, its steps, and what the language model was bound to.

    ``stages`` may have several samples (one VQ decode a picture); ``opened`` are graphs that were
    opened meanwhile, whose time is in ``first`` (request to first code or token) and in ``request``
    (to the end), but in no other stage. ``drawn`` codes of every picture, or tokens, were known at
    the end: one more than steps, unless a step is a pass that gains several.
    """

    first: int
    stages: Mapping[str, list[int]]
    steps: Sequence[Step]
    prompt_tokens: int
    binding: Binding | None
    opened: Mapping[str, int] = field(default_factory=dict)
    drawn: int = 0


def timeline(mode: str, begin: int, end: int, events: Sequence[Event]) -> Timeline:
    """The timeline of a request from ``begin`` to ``end`` (nanoseconds).

    Raises BackendError where nothing was decoded.
    """
    ends = [i for i, event in enumerate(events) if event.what in (LAST[mode], PAINTED)]
    if not ends:
        raise BackendError(f"the {mode} request ended without calling '{LAST[mode]}'; report this")
    before, behind = events[: ends[0] + 1], events[ends[-1] + 1 :]
    opened = {e.detail: e.nanoseconds for e in events if e.what == OPEN}
    prefills = [e for e in before if e.what == LANGUAGE_MODEL]
    prompt = sum(e.binding.new for e in prefills if e.binding)
    first = before[-1].end - begin - _sum(before, CALLER)
    stages = _stages(before, first)
    for event in behind:
        if event.what == Graph.VQ_DECODER.value:
            stages[event.what].append(event.nanoseconds)
    stages[REQUEST] = [end - begin - _sum(events, CALLER)]
    steps = [
        _step(events[i].end, events[i + 1 : j + 1], prompt + number)
        for number, (i, j) in enumerate(pairwise(ends))
    ]
    decoding = [e.binding for e in events[ends[0] :] if e.what == LANGUAGE_MODEL]
    binding = decoding[0] if decoding else None
    return Timeline(first, stages, steps, prompt, binding, opened, len(ends))


def _stages(before: Sequence[Event], first: int) -> dict[str, list[int]]:
    """What comes before the first code or token; the rest is the host's."""
    stages: dict[str, list[int]] = defaultdict(list)
    stages[TOKENISE] = [_sum(before, TOKENISE)]
    for event in before:
        if event.what == Graph.VISION_ENCODER.value:
            stages[event.what].append(event.nanoseconds)
    if prefill := _sum(before, LANGUAGE_MODEL):
        stages[PREFILL] = [prefill]
    own = first - sum(e.nanoseconds for e in before if e.what != CALLER)
    stages[HOST_BEFORE_FIRST] = [own]
    return stages


def _step(begin: int, events: Sequence[Event], position: int) -> Step:
    parts: dict[str, int] = defaultdict(int)
    gaps: dict[str, int] = defaultdict(int)
    last, waiting, width = begin, 0, 1
    for event in events:
        waiting += event.begin - last
        last = event.end
        if event.what == CALLER:
            continue
        if event.binding:
            width = event.binding.new
        parts[event.what] += event.nanoseconds
        gaps[event.what] += waiting
        waiting = 0
    if DETOKENISE in gaps:
        parts[TEXT_SAMPLER] = gaps.pop(DETOKENISE)
    parts[HOST] = sum(gaps.values())
    graphs = sum(value for name, value in parts.items() if name in _GRAPHS)
    parts[TOTAL] = sum(parts.values())
    parts[OUTSIDE] = parts[TOTAL] - graphs
    return Step(dict(parts), dict(gaps), position, width)


def placed(steps: Sequence[Step], prompt: int, known: Mapping[int, int]) -> list[Step]:
    """Passes at the positions where they began: ``known`` are the codes of every picture by the number
    of passes after which this was so, beginning with 0."""
    found, codes = [], known[0]
    for number, step in enumerate(steps):
        codes = known.get(number, codes)
        found.append(replace(step, position=prompt + codes - 1))
    return found


def evened(steps: Sequence[Step], every: int) -> list[Step]:
    """Steps of which ``every`` ended together, each with the mean of its group."""
    groups = [steps[at : at + every] for at in range(0, len(steps), every)]
    return [
        Step(_mean([s.parts for s in group]), _mean([s.gaps for s in group]), step.position)
        for group in groups
        for step in group
    ]


def _mean(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(p[name] for p in parts) // len(parts) for name in parts[0]}


def _sum(events: Iterable[Event], what: str) -> int:
    return sum(e.nanoseconds for e in events if e.what == what)
