"""`--profile`: sizes in words, what follows from the model, and what is no profile."""

from __future__ import annotations

import pytest

from janus_edge.engine_manifest import Range, profile_option
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.errors import InputError
from tests.unit.runtime.fakes import CONFIG

MOST = CONFIG.language.max_positions


def test_defaults() -> None:
    """One picture, or one conversation."""
    assert parse_profile("", CONFIG) == Profile.of(CONFIG)
    assert parse_profile("", CONFIG).rows == Range(1, 2, 2)


def test_all_of_it() -> None:
    """Two numbers are what it is tuned for and the most; pictures follow from the rows."""
    made = parse_profile(" rows = 2:8, prefill=4:12 ,capacity=16,", CONFIG)
    pictures, images = Range(1, 1, 4), Range(1, 1, 1)
    assert made == Profile(Range(1, 2, 8), Range(1, 4, 12), 16, pictures, images)


def test_one_number() -> None:
    """The most alone: rows are tuned for it, a prefill for short prompts."""
    capacity = min(MOST, 100)
    made = parse_profile(f"rows=7,prefill={capacity},capacity={capacity}", CONFIG)
    assert (made.rows, made.pictures) == (Range(1, 7, 7), Range(1, 3, 3))
    assert made.prefill == Range(1, min(64, capacity), capacity)


def test_less_than_the_defaults() -> None:
    """A small cache has a small prefill; a chat is tuned for one row, and yet paints."""
    small = parse_profile("capacity=5", CONFIG)
    assert (small.capacity, small.prefill) == (5, Range(1, 5, 5))
    chat = parse_profile("rows=1:2", CONFIG)
    assert (chat.rows, chat.pictures) == (Range(1, 1, 2), Range(1, 1, 1))


def test_window() -> None:
    """None unless it is asked for; tuned for 8 codes if nothing else is said."""
    assert parse_profile("", CONFIG).window is None
    assert parse_profile("window=16", CONFIG).window == Range(1, 8, 16)
    assert parse_profile("window=4", CONFIG).window == Range(1, 4, 4)
    assert parse_profile("window=12:32", CONFIG).window == Range(1, 12, 32)


@pytest.mark.parametrize(
    "text",
    ["", "rows=2:8,prefill=12:12,capacity=16", "rows=1:2,prefill=1,capacity=1", "rows=3",
     "window=6:16,capacity=16", "rows=4,window=2", "window=20,prefill=4,capacity=20"],
)  # fmt: skip
def test_back_from_a_manifest(text: str) -> None:
    """What a manifest says makes the same profile again."""
    made = parse_profile(text, CONFIG)
    assert parse_profile(profile_option(made.manifest_entries()), CONFIG) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows", "'rows': needs a whole number, or two as in 2:8; --profile is like rows="),
        (
            "batch=2",
            "'batch=2': 'batch' is none of rows, prefill, window, capacity; --profile is like",
        ),
        ("=2", "'' is none of"),
        ("rows=2,rows=4", "'rows=4': 'rows' is given twice"),
        ("rows=-2", "'rows=-2': needs a whole number"),
        ("rows=2.5", "needs a whole number"),
        ("rows=1:2:8", "needs a whole number, or two"),
        ("rows=٢", "needs a whole number"),
        ("capacity=8:16", "'capacity=8:16': needs a whole number; "),
        ("rows=8:2", "'rows=8:2': sizes begin at 1, and the most comes last"),
        ("rows=0", "'rows=0': sizes begin at 1"),
        ("rows=0:2", "sizes begin at 1"),
        ("rows=1", "one row, and a picture takes two: give rows=2 or more"),
        ("capacity=0", "sizes begin at 1"),
        ("window=1", "a window of one code, which is no window: leave it out"),
        ("window=0", "sizes begin at 1"),
        (f"capacity={MOST + 1}", f"from 1 to {MOST}, the model's positions; found {MOST + 1}"),
        ("prefill=9,capacity=8", "a prefill of 9 tokens does not fit a cache of 8 positions"),
        ("rows=1" + "0" * 30, "needs a whole number"),
    ],
)
def test_no_profile(text: str, message: str) -> None:
    """The part, the reason and the form."""
    with pytest.raises(InputError, match=message):
        parse_profile(text, CONFIG)
