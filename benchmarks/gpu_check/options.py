"""The command line's options."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import benchmarks.gpu_check as package
from benchmarks.gpu_check import random_models
from benchmarks.gpu_check.models import KNOWN, PRECISIONS
from janus_edge.engines.target_names import TARGET_NAMES

DEFAULT_TARGETS = tuple(name for name in TARGET_NAMES if name != "ort-cpu")

#: Seconds for all checks, and for each command, by --size.
TOTAL = {"miniature": 300.0, "1b": 1800.0, "tiny": 300.0}
EACH = {"miniature": 150.0, "1b": 600.0, "tiny": 150.0}

#: Kinds of rehearsal: all is right, or a known mistake must be found.
REHEARSALS = ("right", "wrong-attention")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the options and fill in defaults; exits with 2 if they are invalid."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.total = options.total or TOTAL[options.size]
    options.timeout = options.timeout or EACH[options.size]
    lacking = [p for p in options.precisions if p not in random_models.PRECISIONS]
    if options.size != "miniature" and lacking:
        known = ", ".join(random_models.PRECISIONS)
        parser.error(f"--precisions {lacking[0]}: --size {options.size} has {known}")
    if options.out is not None:
        why = _unwritable(options.out)
        if why:
            parser.error(f"--out {options.out}: {why}; name another folder")
    if options.rehearse and options.out is None:
        parser.error("--rehearse needs --out FOLDER: its figures are not results")
    return options


def _names(known: Sequence[str], text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
    return names


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _unwritable(folder: Path) -> str:
    """Why no report can be written to ``folder``; '' if one can. Makes nothing."""
    path = folder.absolute()
    while not os.path.lexists(path):
        path = path.parent
    if not path.is_dir():
        return f"{path} is not a folder"
    return "" if os.access(path, os.W_OK | os.X_OK) else f"{path} cannot be written to"


def _by_size(seconds: Mapping[str, float]) -> str:
    """Format the miniature's limit, then those that differ: '300 s, 1800 s with --size 1b'."""
    usual = seconds["miniature"]
    others = [f"{own:.0f} s with --size {size}" for size, own in seconds.items() if own != usual]
    return ", ".join([f"{usual:.0f} s", *others])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, without the usage; exit with 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmarks.gpu_check",
        description=(package.__doc__ or "").replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--size", choices=TOTAL, default="miniature",
        help="the shipped miniature; random weights at the 1B's dimensions, for times only; or at "
        "tiny dimensions, to try that")  # fmt: skip
    add("--prepared", type=Path, metavar="FOLDER",
        help="use the bundles that `make gpu-wheels` made; by default they are exported")  # fmt: skip
    add("--targets", type=lambda t: _names(TARGET_NAMES, t),
        help=f"default: {','.join(DEFAULT_TARGETS)} (also ort-cpu, to try this command without a GPU)")  # fmt: skip
    add("--precisions", type=lambda t: _names(KNOWN, t), default=PRECISIONS,
        help=f"default: {','.join(PRECISIONS)} (also fp32); all checks run on the first one")  # fmt: skip
    add("--full", action="store_true", help="also check each graph and plan, time whole requests, run the tests marked gpu")  # fmt: skip
    add("--seconds", type=_seconds, default=3.0,
        help="time each step this long, and at least one picture")  # fmt: skip
    add("--repetitions", type=_count, default=3, help="number of whole requests that --full times")
    add("--total", type=_seconds, metavar="SECONDS",
        help=f"limit for all checks after the preparation [{_by_size(TOTAL)}]")  # fmt: skip
    add(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help=f"limit for each command [{_by_size(EACH)}]",
    )
    add(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the report, instead of benchmarks/results",
    )
    add("--require-gpu", action="store_true", help="exit with 3 if every check is skipped")
    add("--rehearse", nargs="?", const=REHEARSALS[0], choices=REHEARSALS,
        help="run everything on a fake driver and a fake TensorRT, from a checkout with its tests")  # fmt: skip
    return parser
