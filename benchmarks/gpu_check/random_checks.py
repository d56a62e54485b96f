"""The checks at a published model's dimensions: times only, since the weights are random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.checks import (
    ATTENTION,
    BUILD,
    CAPACITY,
    STEP,
    capacities,
    judged,
    skipped,
)
from benchmarks.gpu_check.models import UnavailableError
from benchmarks.gpu_check.processes import Outcome, Run
from benchmarks.gpu_check.random_models import RandomModels
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check, Device
from janus_edge.engine import AHEAD_OF_TIME
from janus_edge.tensorrt_module import MODULES

LANGUAGE_MODEL, DECODE = "language model", "vq decoder"

EVERY = (BUILD, STEP, LANGUAGE_MODEL, DECODE, ATTENTION)

#: Where a picture of 576 codes is half-way, and a prompt with an image.
POSITION, PREFILL = 330, 620

#: A picture's cache, the prompt in one piece.
_PROFILE = "rows=2,prefill=64:640,capacity=640"

#: Builders hold the weights twice, and more for scratch and libraries.
_TIMES, _BESIDES_MIB = 2.5, 1536


@dataclass(frozen=True, slots=True)
class RandomChecks:
    """The checks of ``target`` on ``device``, which has ``memory_mib``; None where nobody tells."""

    target: str
    device: Device | None
    models: RandomModels
    run: Run
    scratch: Path
    memory_mib: int | None
    engines: dict[str, Path] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, precision: str) -> Iterator[Check]:
        """The checks in ``precision``, in the order of EVERY."""
        subject = f"{self.models.dimensions}-{precision}"
        try:
            bundle = self.models.bundle(precision)
        except UnavailableError as why:
            state = FAILED if why.broken else SKIPPED
            yield Check(self.target, subject, BUILD, state, f"there is no bundle: {why}")
            yield from skipped(self.target, subject, "there is no bundle", EVERY[1:])
            return
        why_not = self._too_large(bundle)
        if why_not:
            yield from skipped(self.target, subject, why_not, EVERY)
            return
        engine = self.scratch / f"{subject}-{self.target}"
        built = self._check(subject, BUILD, self._build(bundle, engine, _PROFILE))
        yield built
        if built.state != PASSED:
            yield from skipped(self.target, subject, "its engine was not built", EVERY[1:])
            return
        self.engines[subject] = engine
        timed = self.run("benchmarks.gpu_check.step_time", [engine, bundle, "--seconds", "1"])
        self.steps[subject] = timed.data
        yield self._check(subject, STEP, timed)
        yield self._check(subject, LANGUAGE_MODEL, self._step(engine, 640, POSITION, PREFILL))
        decoded = self.run("benchmarks.gpu_check.decode_time", [engine])
        yield self._check(subject, DECODE, decoded)
        if self.target in MODULES:
            inspected = self.run("benchmarks.gpu_check.attention", [engine])
            yield self._check(subject, ATTENTION, inspected)
        else:
            why = "ONNX Runtime chooses kernels when it runs"
            yield from skipped(self.target, subject, why, (ATTENTION,))

    def capacity(self, precision: str) -> Check:
        """As :meth:`TargetChecks.capacity`."""
        subject = f"{self.models.dimensions}-{precision}"
        if subject not in self.engines:
            return skipped(self.target, subject, "its engine was not built", (CAPACITY,))[0]
        bundle, found = self.models.bundle(precision), []
        for positions in capacities(bundle):
            engine = self.engines[subject]
            if self.target in MODULES:
                engine = self.scratch / f"{subject}-{self.target}-{positions}"
                profile = f"rows=2,prefill=16:64,capacity={positions}"
                built = self._build(bundle, engine, profile)
                if built.code:
                    return judged(self.target, subject, CAPACITY, built, lambda d: (d, ""))
            outcome = self._step(engine, positions, 200, 0)
            if outcome.code or not outcome.data:
                return judged(self.target, subject, CAPACITY, outcome, lambda d: (d, ""))
            found.append(outcome)
        both = figures.of_capacity(*(one.data for one in found), self.steps.get(subject, {}))
        seconds = sum(one.seconds for one in found)
        return Check(self.target, subject, CAPACITY, PASSED, "", both, seconds)

    def _too_large(self, bundle: Path) -> str:
        """Why it should not be tried on this GPU; '' where it fits, or nobody tells."""
        if self.memory_mib is None:
            return ""
        mib = sum(f.stat().st_size for f in bundle.rglob("*") if f.is_file()) / 2**20
        needed = _TIMES * mib + _BESIDES_MIB
        if needed <= self.memory_mib:
            return ""
        return f"building may take {needed:.0f} MiB, the GPU has {self.memory_mib}"

    def _build(self, bundle: Path, engine: Path, profile: str) -> Outcome:
        words: list[str | Path] = ["build", bundle, engine, "--target", self.target]
        if self.target in MODULES:
            words += ["--profile", profile]
        if self.target in AHEAD_OF_TIME and self.device:
            words += ["--compute-capability", self.device.compute_capability]
        return self.run("janus_edge", [*words, "--json"])

    def _step(self, engine: Path, capacity: int, position: int, prefill: int) -> Outcome:
        words = ["--capacity", str(capacity), "--position", str(position)]
        words += ["--prefill", str(prefill)] if prefill else []
        return self.run("benchmarks.gpu_check.language_step", [engine, *words])

    def _check(self, subject: str, name: str, outcome: Outcome) -> Check:
        judges = {BUILD: figures.of_build, STEP: figures.of_step, ATTENTION: figures.of_attention}
        return judged(
            self.target, subject, name, outcome, judges.get(name, lambda found: (found, ""))
        )
