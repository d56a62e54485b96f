"""Limits of scratch memory: how the command line writes them and what a manifest stores."""

from __future__ import annotations

import pytest

from janus_edge.cuda_driver import Gpu
from janus_edge.engines.tensorrt.workspace import default_workspace, in_words, parse_workspace
from janus_edge.errors import InputError


@pytest.mark.parametrize(
    ("words", "recorded", "size"),
    [("700b", "700B", 700), ("2k", "2K", 2048), (" 512M ", "512M", 512 << 20), ("3G", "3G", 3 << 30),
     ("2048M", "2G", 2 << 30), ("1025M", "1025M", 1025 << 20)],
)  # fmt: skip
def test_sizes(words: str, recorded: str, size: int) -> None:
    """Equal sizes are recorded as the same text, which is read as that size again."""
    assert parse_workspace(words) == size
    assert in_words(size) == recorded
    assert parse_workspace(recorded) == size


@pytest.mark.parametrize(
    "words", ["", "0", "512", "0G", "-1", "1.5G", "2T", "half", "١", "9" * 12 + "G"]
)
def test_what_is_not_a_size(words: str) -> None:
    """An invalid size is refused with the valid form; so are zero and a size beyond 64 bits."""
    with pytest.raises(InputError, match="--workspace must be a size with its unit, .* found"):
        parse_workspace(words)


def test_defaults() -> None:
    """Only a GPU that shares the machine's memory gets a default limit from us."""
    orin = Gpu("Orin", "8.7", "12.6", integrated=True)
    assert default_workspace(orin) == 512 << 20
    assert default_workspace(Gpu("L4", "8.9", "13.0")) is None
    assert default_workspace(None) is None
