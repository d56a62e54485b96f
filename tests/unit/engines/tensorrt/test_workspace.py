"""Limits of scratch memory: words of the command line, and what a manifest has."""

from __future__ import annotations

import pytest

from janus_edge.cuda_driver import Gpu
from janus_edge.engines.tensorrt.workspace import default_workspace, in_words, parse_workspace
from janus_edge.errors import InputError


@pytest.mark.parametrize(
    ("words", "recorded", "size"),
    [("700", "700", 700), ("2k", "2K", 2048), (" 512M ", "512M", 512 << 20), ("3G", "3G", 3 << 30),
     ("2048M", "2G", 2 << 30), ("1025M", "1025M", 1025 << 20)],
)  # fmt: skip
def test_sizes(words: str, recorded: str, size: int) -> None:
    """Equal sizes are recorded in equal words, which are read as that size again."""
    assert parse_workspace(words) == size
    assert in_words(size) == recorded
    assert parse_workspace(recorded) == size


@pytest.mark.parametrize("words", ["", "0", "0G", "-1", "1.5G", "2T", "half", "١", "9" * 12 + "G"])
def test_what_is_not_a_size(words: str) -> None:
    """Refused with the form; so is a limit of nothing, and one that no 64-bit number holds."""
    with pytest.raises(InputError, match="--workspace takes .* found"):
        parse_workspace(words)


def test_defaults() -> None:
    """Only a GPU that shares the machine's memory has a limit of ours."""
    orin = Gpu("Orin", "8.7", "12.6", integrated=True)
    assert default_workspace(orin) == 512 << 20
    assert default_workspace(Gpu("L4", "8.9", "13.0")) is None
    assert default_workspace(None) is None
