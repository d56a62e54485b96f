"""Commands that checks of every size run on a target's engines, and how results are judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.processes import LACKS_PACKAGE, NO_TIME, Outcome, Run
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check, Device
from janus_edge.engine import AHEAD_OF_TIME
from janus_edge.tensorrt_module import MODULES

ATTENTION, CAPACITY = "attention", "capacity"

#: Capacities at which the same step is timed, up to the model's positions, and the filled positions.
CAPACITIES, FILLED = (256, 2048), 200

#: Turns a command's JSON into its figures and what is wrong with them ('' if nothing is).
Judge = Callable[[dict[str, Any]], tuple[dict[str, Any], str]]


@dataclass(frozen=True, slots=True)
class EngineCommands:
    """Commands for engines of ``target`` on ``device``; engines go to the folder ``scratch``."""

    target: str
    device: Device | None
    run: Run
    scratch: Path

    def build(self, bundle: Path, engine: Path, profile: str) -> Outcome:
        """Build an engine for this machine's GPU."""
        words: list[str | Path] = ["build", bundle, engine, "--target", self.target]
        if self.target in MODULES:
            words += ["--profile", profile]
        if self.target in AHEAD_OF_TIME and self.device:
            words += ["--compute-capability", self.device.compute_capability]
        return self.run("janus_edge", [*words, "--json"])

    def step(self, engine: Path, capacity: int, position: int, prefill: int = 0) -> Outcome:
        """Time the language model alone."""
        words = ["--capacity", str(capacity), "--position", str(position)]
        words += ["--prefill", str(prefill)] if prefill else []
        return self.run("benchmarks.gpu_check.language_step", [engine, *words])

    def attention(self, subject: str, engine: Path) -> Check:
        """Report how the language model's attention was built."""
        if self.target not in MODULES:
            why = "ONNX Runtime chooses kernels when it runs"
            return Check(self.target, subject, ATTENTION, SKIPPED, why)
        inspected = self.run("benchmarks.gpu_check.attention", [engine])
        return judged(self.target, subject, ATTENTION, inspected, figures.of_attention)

    def capacity(self, subject: str, bundle: Path, engine: Path, step: dict[str, Any]) -> Check:
        """Time the same step with a small and a large cache; ``step`` holds the figures of `step_time`.

        A TensorRT engine has one capacity, so two more are built.
        """
        found = []
        for positions in capacities(bundle):
            outcome = self._at(subject, bundle, engine, positions)
            if outcome.code or not outcome.data:
                return judged(self.target, subject, CAPACITY, outcome, as_it_is)
            found.append(outcome)
        small, large = (one.data for one in found)
        both = figures.of_capacity(small, large, step)
        seconds = sum(one.seconds for one in found)
        return Check(self.target, subject, CAPACITY, PASSED, "", both, seconds)

    def _at(self, subject: str, bundle: Path, engine: Path, positions: int) -> Outcome:
        if self.target in MODULES:
            engine = self.scratch / f"{subject}-{self.target}-{positions}"
            profile = f"rows=2,prefill=16:64,capacity={positions}"
            built = self.build(bundle, engine, profile)
            if built.code:
                return built
        return self.step(engine, positions, FILLED)


def capacities(bundle: Path) -> list[int]:
    """Return CAPACITIES, each at most the positions of the bundle's model."""
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    most = int(manifest["config"]["language"]["max_positions"])
    return [min(wanted, most) for wanted in CAPACITIES]


def as_it_is(found: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return figures that have no limit to miss."""
    return found, ""


def judged(target: str, subject: str, name: str, outcome: Outcome, judge: Judge) -> Check:
    """Turn a command's outcome into a check. A failed command may still have printed its figures."""
    if outcome.code in (LACKS_PACKAGE, NO_TIME):
        return Check(target, subject, name, SKIPPED, outcome.reason, {}, outcome.seconds)
    data = outcome.data
    if not data and not outcome.code:
        return Check(target, subject, name, FAILED, "it printed no JSON", {}, outcome.seconds)
    try:
        found, wrong = judge(data) if data else ({}, "")
    except (KeyError, TypeError, AttributeError) as other:
        found, wrong = {}, f"its JSON has an unexpected form ({other!r})"
    why = wrong or outcome.reason
    state = FAILED if why else PASSED
    return Check(target, subject, name, state, why, found, outcome.seconds)
