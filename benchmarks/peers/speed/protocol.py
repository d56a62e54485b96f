"""How a peer's process talks: it loads one item of work, then answers lines of JSON.

    <- {"ready": true, "load_seconds": 3.1, "versions": {...}, "notes": [...]}
    -> {"do": "run", "times": 2}      <- {"seconds": [...], "memory": {...}}
    -> {"do": "output", "to": PATH}   <- {"shape": [...], "memory": {...}}   (a .npy file at PATH)

``seconds`` has a figure for each step of each time where the item is `step`, and otherwise one for each
time. Memory in bytes: ``peak`` is the largest resident set since the process began, loading included,
``running`` the largest since loading was over, ``anonymous`` what of the present one is no file's.
What libraries print goes to standard error. The end of standard input ends the process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from work import ITEMS, Work


@dataclass
class Runner:
    """One loaded item: ``run`` does it once and returns its seconds, ``output`` what it computed last.

    ``output`` is float32: step [steps, 2, K] logits; prefill [H], the last position's hidden state;
    vision [T, H]; vq and picture [3, I, I].
    """

    run: Callable[[], list[float]]
    output: Callable[[], NDArray[Any]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Given:
    """What a worker was started with."""

    item: str
    work: Work
    checkpoint: Path
    model: Path
    threads: int
    option: str


Load = Callable[[Given], Runner]


def serve(load: Load, packages: Sequence[str]) -> None:
    """Read the command line, load, and answer until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--item", choices=ITEMS, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, help="whose sizes the work has")
    parser.add_argument("--model", type=Path, required=True, help="what the peer opens")
    parser.add_argument("--option", default="", help="the variant, where one worker has several")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=24)
    parsed = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    given = Given(
        parsed.item, Work.of(parsed.checkpoint, parsed.steps), parsed.checkpoint, parsed.model,
        parsed.threads, parsed.option,
    )  # fmt: skip
    started = time.perf_counter()
    runner = load(given)
    ready = {
        "ready": True,
        "load_seconds": time.perf_counter() - started,
        "versions": {name: version(name) for name in packages},
        "notes": runner.notes,
        "memory": memory(),
    }
    _reset_running()
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(runner, json.loads(line))), file=answers, flush=True)


def _answer(runner: Runner, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["do"] == "run":
        seconds = [s for _ in range(asked["times"]) for s in runner.run()]
        return {"seconds": seconds, "memory": memory()}
    output = np.ascontiguousarray(runner.output(), np.float32)
    np.save(asked["to"], output)
    return {"shape": list(output.shape), "memory": memory()}


#: The largest resident set before it was counted anew.
_before = 0


def memory() -> dict[str, int]:
    status = Path("/proc/self/status").read_text("utf-8")
    found = {k: int(v) * 1024 for k, v in re.findall(r"^(\w+):\s*(\d+) kB$", status, re.M)}
    return {
        "peak": max(_before, found["VmHWM"]),
        "running": found["VmHWM"],
        "resident": found["VmRSS"],
        "anonymous": found["RssAnon"],
    }


def _reset_running() -> None:
    """Count the largest resident set from here (proc(5): clear_refs 5)."""
    global _before
    _before = memory()["peak"]
    Path("/proc/self/clear_refs").write_text("5")


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
