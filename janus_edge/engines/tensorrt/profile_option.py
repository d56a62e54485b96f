"""A profile as text on the command line: ``rows=2:8,prefill=64:640,capacity=640,chat=1216``.

Rows, the tokens of a prefill and the codes of a window (of parallel decoding) are the most that a
plan takes, or what it is tuned for and the most; from one on everything is taken. What is left out
follows from the model; without a window, windows are run by the kernels of the prefill.

``capacity`` is for painting; ``chat`` is the capacity of a second plan for longer caches, 0 for none. A
capacity without chat gives one plan. ``split=1`` builds prefill and decode as separate plans, with a
fixed number of rows.
"""

from __future__ import annotations

import re
from dataclasses import replace

from janus_edge.config import JanusConfig
from janus_edge.engine_manifest import Range
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.errors import InputError

_TUNED = ("rows", "prefill", "window")
#: Default number of codes that a window is tuned for, about the observed gain of a pass.
_WINDOW = 8

_NAMES = (*_TUNED, "capacity", "chat", "split")
_FORM = (
    "--profile is like rows=2:8,prefill=64:640,capacity=640,chat=1216,split=1 (tuned for:most, or "
    "the most alone)"
)
#: Sizes that may be 0, for none.
_NONE = ("chat", "split")


def parse_profile(text: str, config: JanusConfig) -> Profile:
    """The profile that ``text`` asks for, checked against the model; '' asks for the defaults.

    The pictures that are painted at a time follow from the rows, and images are read one by one, so
    that this text is complete. Raises InputError if it is not a profile, or for sizes that the model does
    not take.
    """
    asked = _parts(text)
    typical, most = asked.get("window", (None, 0))
    if most == 1:
        raise InputError("--profile has a window of one code, which does nothing: leave it out")
    window = Range(1, typical or min(most, _WINDOW), most) if most else None
    (_, capacity), (_, chat), (_, split) = (
        asked.get(name, (None, None)) for name in ("capacity", "chat", "split")
    )
    if (split or 0) > 1:
        raise InputError(
            "--profile takes split=1 for separate prefill and decode plans, or split=0"
        )
    default = Profile.of(config, capacity=capacity, chat=chat, window=window)
    typical, most = asked.get("rows", (None, 2))
    if most < 2:
        raise InputError("--profile has one row, and a picture takes two: give rows=2 or more")
    rows = Range(1, typical or most, most)
    typical, most = asked.get("prefill", (None, default.prefill.largest))
    # prompts to paint from are short, whatever the longest is
    prefill = Range(1, typical or min(most, default.prefill.typical), most)
    pictures = Range(1, max(1, rows.typical // 2), rows.largest // 2)
    made = replace(default, rows=rows, prefill=prefill, pictures=pictures, split=bool(split))
    made.check(config)
    return made


def _parts(text: str) -> dict[str, tuple[int | None, int]]:
    """By name: what it is tuned for, None where that is not said, and the most."""
    found: dict[str, tuple[int | None, int]] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in _NAMES or name in found:
            wrong = "is given twice" if name in found else f"is not one of {', '.join(_NAMES)}"
            raise InputError(f"{part!r}: {name!r} {wrong}; {_FORM}")
        found[name] = _sizes(part, value, single=name not in _TUNED, least=int(name not in _NONE))
    return found


def _sizes(part: str, value: str, *, single: bool, least: int) -> tuple[int | None, int]:
    form = r"()(\d{1,9})" if single else r"(?:(\d{1,9}):)?(\d{1,9})"
    numbers = re.fullmatch(form, value, re.ASCII)
    if not numbers:
        kind = "a whole number" if single else "a whole number, or two as in 2:8"
        raise InputError(f"{part!r}: needs {kind}; {_FORM}")
    typical, most = int(numbers[1]) if numbers[1] else None, int(numbers[2])
    if not least <= (most if typical is None else typical) <= most:
        raise InputError(f"{part!r}: sizes begin at 1, and the most comes last; {_FORM}")
    return typical, most
