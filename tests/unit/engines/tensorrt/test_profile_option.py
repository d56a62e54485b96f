"""`--profile`: sizes in words, what follows from the model, and what is no profile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from janus_edge.config import JanusConfig
from janus_edge.engine_manifest import GraphBuild, LanguagePlan, Range
from janus_edge.engine_profile import profile_option
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.errors import InputError
from tests.unit.runtime.fakes import CONFIG

MOST = CONFIG.language.max_positions

#: The number of image tokens of the real models.
LARGE = replace(
    CONFIG,
    vision=replace(CONFIG.vision, image_size=384, patch_size=16),
    vq=replace(CONFIG.vq, channel_multiplier=(1, 1, 1, 1, 1)),
    language=replace(CONFIG.language, max_positions=16384),
)


def test_capacities() -> None:
    """Painting has the positions of a prompt, a picture and a window. Chat has those of an image and an
    answer, in its own plan, unless that plan would be the smaller one."""
    assert LARGE.image_tokens == 576

    def found(text: str, config: JanusConfig = LARGE) -> tuple[int, int]:
        made = parse_profile(text, config)
        return made.capacity, made.chat

    assert found("") == found("rows=8") == (640, 1216)
    assert found("window=16") == (704, 1216)
    assert found("chat=0") == (640, 0)
    assert found("chat=2048") == (640, 2048)
    assert found("capacity=1216") == found("capacity=1216,chat=0") == (1216, 0)
    assert found("capacity=640,chat=4096") == (640, 4096)
    assert found("", CONFIG) == (128, 0)  # 64 + 16 positions, and 64 + 2 * 16 for chat
    made = parse_profile("", LARGE)
    assert made.prefill == Range(1, 64, 1216)
    small, large = made.language_plans().values()
    assert (small.prefill, large.prefill) == (Range(1, 64, 640), Range(1, 64, 1216))


def test_split() -> None:
    """Prefill is apart from decode, and every plan always takes all rows."""
    made = parse_profile("split=1,rows=4,capacity=16,chat=32", CONFIG)
    plans = made.language_plans()
    assert [*plans] == [
        f"language_model{chat}-{phase}" for chat in ("", "-chat") for phase in ("prefill", "decode")
    ]
    assert {one.rows for one in plans.values()} == {Range(4, 4, 4)}
    assert [one.capacity for one in plans.values()] == [16, 16, 32, 32]
    assert [[r.largest for r in one.new_tokens] for one in plans.values()] == [
        [16], [1], [32], [1],
    ]  # fmt: skip
    assert made.pictures == Range(1, 2, 2)  # the graphs around it take any number


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
     "window=6:16,capacity=16", "rows=4,window=2", "window=20,prefill=4,capacity=20",
     "capacity=16,chat=40", "capacity=16,chat=40,prefill=4:30,window=8", "chat=0", "chat=1024",
     "split=1", "split=1,rows=4,capacity=16,chat=48", "rows=4,split=0"],
)  # fmt: skip
@pytest.mark.parametrize("config", [CONFIG, LARGE], ids=["small", "640"])
def test_back_from_a_manifest(text: str, config: JanusConfig) -> None:
    """What a manifest says makes the same profile again."""
    made = parse_profile(text, config)
    assert parse_profile(profile_option(plans(made)), config) == made


def plans(made: Profile) -> tuple[LanguagePlan, ...]:
    """Return plans as a manifest has them."""
    return tuple(
        LanguagePlan(name, f"graphs/{name}.plan", one.plan_entries(), GraphBuild(0, None, {}))
        for name, one in made.language_plans().items()
    )


def test_back_with_more_positions() -> None:
    """A command for a longer cache keeps the other options; for a shorter one it does not change."""
    made = parse_profile("rows=2:8,prefill=12,capacity=16,chat=32", CONFIG)
    again = profile_option(plans(made), 128)
    assert again == "rows=2:8,prefill=12:12,capacity=16,chat=128"
    assert parse_profile(again, CONFIG) == replace(made, chat=128)
    assert profile_option(plans(made), 20) == profile_option(plans(made))
    one = parse_profile("capacity=16", CONFIG)
    assert profile_option(plans(one), 17) == "rows=2:2,prefill=16:16,capacity=16,chat=17"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows", "'rows': needs a whole number, or two as in 2:8; --profile is like rows="),
        (
            "batch=2",
            "'batch=2': 'batch' is not one of rows, prefill, window, capacity, chat, split; --profile is",
        ),
        ("=2", "'' is not one of"),
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
        ("window=1", "a window of one code, which does nothing: leave it out"),
        ("window=0", "sizes begin at 1"),
        (f"capacity={MOST + 1}", f"from 1 to {MOST}, the model's positions; found {MOST + 1}"),
        (f"chat={MOST + 1}", f"from 1 to {MOST}, the model's positions; found {MOST + 1}"),
        ("capacity=16,chat=16", "a chat plan with 16 positions adds nothing to one with 16"),
        ("chat=1:2", "'chat=1:2': needs a whole number; "),
        ("split=2", "split=1 for separate prefill and decode plans, or split=0"),
        ("split=1,window=8", "split plans take no window: .* leave window out"),
        ("split=1,rows=3", "take all 3 rows at a time, .* an even number of rows"),
        ("window=20,capacity=16,chat=32", "a window of 20 codes does not fit a cache of 16"),
        ("prefill=9,capacity=8", "a prefill of 9 tokens does not fit a cache of 8 positions"),
        ("rows=1" + "0" * 30, "needs a whole number"),
    ],
)
def test_no_profile(text: str, message: str) -> None:
    """The part, the reason and the form."""
    with pytest.raises(InputError, match=message):
        parse_profile(text, CONFIG)
