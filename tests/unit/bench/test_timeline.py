"""Events -> stages and steps."""

from __future__ import annotations

import pytest

from janus_edge.bench.recorder import Binding, Event
from janus_edge.bench.timeline import Step, evened, placed, timeline
from janus_edge.errors import BackendError

PROMPT, STEP = Binding(2, 20, 64, 512), Binding(2, 1, 64, 512)


def test_a_request_with_two_steps() -> None:
    """Chunks of a prompt are one prefill; a VQ decode a picture; the caller's time counts nowhere."""
    events = (
        Event("tokenise", 110, 120),
        Event("tokenise", 125, 130),
        Event("language_model", 200, 300, PROMPT),
        Event("language_model", 310, 400, PROMPT),
        Event("image_head", 410, 420),
        Event("guided_sampler", 421, 430),
        Event("caller", 430, 1430),
        Event("image_embedding", 1440, 1450),
        Event("language_model", 1460, 1560, STEP),
        Event("image_head", 1570, 1580),
        Event("guided_sampler", 1580, 1600),
        Event("vq_decoder", 1700, 1800),
        Event("vq_decoder", 1800, 1950),
        Event("caller", 1950, 2000),
    )
    found = timeline("image", 100, 2000, events)
    assert found.first == 330
    assert found.stages == {
        "tokenise": [15],
        "prefill": [190],
        "host_before_first": [330 - 15 - 190 - 10 - 9],
        "vq_decoder": [100, 150],
        "request": [1900 - 1050],
    }
    assert found.prompt_tokens == 40
    assert found.binding == STEP
    assert found.drawn == 2
    (step,) = found.steps
    assert step.gaps == {
        "image_embedding": 10,
        "language_model": 10,
        "image_head": 10,
        "guided_sampler": 0,
    }
    assert step.parts["host"] == step.parts["outside"] == 30
    assert step.parts["step"] == 1600 - 430 - 1000
    assert step.position == 40


def test_passes_are_placed_where_they_began() -> None:
    """By the codes of every picture that were known; a pass may gain none for the slowest."""
    passes = [Step({"step": 1}, {}, 0, 8)] * 4
    found = placed(passes, 20, {0: 1, 1: 5, 3: 6})
    assert [(s.position, s.width) for s in found] == [(20, 8), (24, 8), (24, 8), (25, 8)]


def test_codes_that_come_together() -> None:
    """Steps that a device hands out in groups share the time of their group."""
    steps = [
        Step({"painted_step": t, "step": t + 1}, {"painted_step": 1}, position)
        for position, t in enumerate((90, 0, 0, 60, 0, 0, 8), 20)
    ]
    found = evened(steps, 3)
    assert [s.parts["painted_step"] for s in found] == [30, 30, 30, 20, 20, 20, 8]
    assert [s.parts["step"] for s in found] == [31, 31, 31, 21, 21, 21, 9]
    assert [s.position for s in found] == [*range(20, 27)]


def test_nothing_decoded() -> None:
    with pytest.raises(BackendError, match="without calling 'text_head'"):
        timeline("text", 0, 9, (Event("language_model", 1, 2, PROMPT),))
