"""Options that cannot be used are refused with their name."""

from __future__ import annotations

from typing import Any

import pytest

from janus_edge.bench import Options
from janus_edge.errors import InputError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repetitions": 0}, "repetitions must be at least 1, found 0"),
        ({"warm_up": -1}, "warm_up must be at least 0"),
        ({"steps": 1}, "steps must be at least 2"),
        ({"answer_tokens": 1}, "answer_tokens must be at least 2"),
        ({"pictures": 17}, "pictures must be at most 16"),
        ({"prompts": 0}, "prompts must be at least 1"),
        ({"threads": -1}, "threads must be at least 0"),
        ({"seed": -1}, "seed must be from 0"),
        ({"parallel": 0}, "parallel must be 'off', 'auto' or a number of codes .* found 0"),
        ({"parallel": "on"}, "found 'on'"),
        ({"parallel": 4, "modes": ("text",)}, "parallel: is for the mode image, which was left"),
        ({"sweeps": {"parallel": (65,)}}, "sweep of parallel: at most 64, found 65"),
        ({"modes": ()}, "modes must be some of image, text"),
        ({"modes": ("sound",)}, "modes must be some of image, text"),
        ({"sweeps": {"heads": (1,)}}, "unknown sweep 'heads': choose one of pictures"),
        ({"sweeps": {"pictures": ()}}, "sweep of pictures: give different numbers above 0"),
        ({"sweeps": {"pictures": (1, 1)}}, "sweep of pictures: give different numbers"),
        ({"sweeps": {"capacity": (0,)}}, "sweep of capacity: give different numbers above 0"),
        ({"sweeps": {"prompts": (1, 17)}}, "sweep of prompts: at most 16, found 17"),
        (
            {"modes": ("image",), "sweeps": {"capacity": (64,)}},
            "sweep of capacity: is for the mode text, which was left out",
        ),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**changes)


def test_allowed() -> None:
    """Whole pictures, no warm-up, and a sweep in the one mode that is left."""
    Options(modes=("text",), steps=None, warm_up=0, sweeps={"prompt_length": (100, 5000)})
