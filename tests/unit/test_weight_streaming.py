"""Budgets of weight streaming: words of the command line, and what a manifest has."""

from __future__ import annotations

import pytest

from janus_edge.errors import InputError
from janus_edge.weight_streaming import OPTION, budget, parse_budget


@pytest.mark.parametrize(
    ("words", "recorded", "size"),
    [("0", "0", 0), ("700", "700", 700), ("2k", "2048", 2048), (" 512M ", "536870912", 512 << 20),
     ("3G", "3221225472", 3 << 30), ("Auto", "auto", -1)],
)  # fmt: skip
def test_budgets(words: str, recorded: str, size: int) -> None:
    """What is recorded reads as the same budget again."""
    assert parse_budget(words) == recorded
    assert parse_budget(recorded) == recorded
    assert budget({OPTION: recorded}) == size


def test_none() -> None:
    assert budget({}) is None
    assert budget({"other": "1"}) is None


@pytest.mark.parametrize("words", ["", "-1", "1.5G", "2T", "half", "١", "9" * 16])
def test_what_is_no_budget(words: str) -> None:
    with pytest.raises(InputError, match="--weight-streaming takes .* found"):
        parse_budget(words)
