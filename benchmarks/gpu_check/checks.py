"""The checks of one target: engines built, their pictures compared, their steps timed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.models import Models, UnavailableError
from benchmarks.gpu_check.processes import LACKS_PACKAGE, NO_TIME, Outcome, Run
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check, Device
from janus_edge.engine import AHEAD_OF_TIME
from janus_edge.tensorrt_module import MODULES

BUILD, PAINTING, STEP = "build", "painting", "step"
ATTENTION, CAPACITY, TORCH = "attention", "capacity", "parity: PyTorch"

#: Those of every precision, then those of the first one.
EVERY, ONCE = (BUILD, PAINTING, STEP, ATTENTION), (CAPACITY, TORCH)
NAMES = (*EVERY, *ONCE)

#: Painting takes two rows a picture; prompts are compared two at a time.
PROFILE = "rows=2:8"

#: Capacities that the same step is timed with, as far as the model has positions.
CAPACITIES = (256, 2048)

#: What a command's JSON comes to: figures, and what is wrong with them ('' for nothing).
Judge = Callable[[dict[str, Any]], tuple[dict[str, Any], str]]


def skipped(target: str, subject: str, why: str, names: tuple[str, ...] = NAMES) -> list[Check]:
    """A check of each of ``names`` that could not be made."""
    return [Check(target, subject, name, SKIPPED, why) for name in names]


@dataclass(frozen=True, slots=True)
class TargetChecks:
    """The checks of ``target`` on ``device``; engines go to the folder ``scratch``.

    Each step is timed for ``seconds``. ``engines`` and ``steps`` are what was built and timed so far, by
    the bundle's name.
    """

    target: str
    device: Device | None
    models: Models
    run: Run
    scratch: Path
    seconds: float = 3.0
    engines: dict[str, Path] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, precision: str) -> Iterator[Check]:
        """The checks in ``precision``, in the order of EVERY."""
        subject = f"miniature-{precision}"
        try:
            bundle = self.models.bundle(precision)
        except UnavailableError as why:
            yield self._lacking(subject, BUILD, f"there is no bundle: {why}", why.broken)
            yield from skipped(self.target, subject, "there is no bundle", EVERY[1:])
            return
        engine = self.scratch / f"{subject}-{self.target}"
        built = self._check(subject, BUILD, self._build(bundle, engine, PROFILE), figures.of_build)
        yield built
        if built.state != PASSED:
            yield from skipped(self.target, subject, "its engine was not built", EVERY[1:])
            return
        self.engines[subject] = engine
        yield self._painting(subject, precision, engine)
        seconds = ["--seconds", str(self.seconds)]
        timed = self.run("benchmarks.gpu_check.step_time", [engine, bundle, *seconds])
        self.steps[subject] = timed.data
        yield self._check(subject, STEP, timed, figures.of_step)
        if self.target in MODULES:
            inspected = self.run("benchmarks.gpu_check.attention", [engine])
            yield self._check(subject, ATTENTION, inspected, figures.of_attention)
        else:
            why = "ONNX Runtime chooses kernels when it runs"
            yield from skipped(self.target, subject, why, (ATTENTION,))

    def capacity(self, precision: str) -> Check:
        """The language model's step with a small cache and with a large one, filled alike."""
        subject = f"miniature-{precision}"
        if subject not in self.engines:
            return skipped(self.target, subject, "its engine was not built", (CAPACITY,))[0]
        found = []
        for positions in capacities(self.models.bundle(precision)):
            outcome = self._language_step(subject, precision, positions)
            if outcome.code or not outcome.data:
                return self._check(subject, CAPACITY, outcome, lambda d: (d, ""))
            found.append(outcome)
        both = figures.of_capacity(*(one.data for one in found), self.steps.get(subject, {}))
        seconds = sum(one.seconds for one in found)
        return Check(self.target, subject, CAPACITY, PASSED, "", both, seconds)

    def torch(self, precision: str) -> Check:
        """Each stage, and codes after PyTorch's own codes."""
        subject = f"miniature-{precision}"
        if subject not in self.engines:
            return skipped(self.target, subject, "its engine was not built", (TORCH,))[0]
        try:
            trace = self.models.trace()
        except UnavailableError as why:
            return self._lacking(subject, TORCH, f"PyTorch's run is not here: {why}", why.broken)
        outcome = self.run("janus_edge", ["parity", trace, self.engines[subject], "--json"])
        return self._check(subject, TORCH, outcome, figures.of_torch_parity)

    def _build(self, bundle: Path, engine: Path, profile: str) -> Outcome:
        words: list[str | Path] = ["build", bundle, engine, "--target", self.target]
        if self.target in MODULES:
            words += ["--profile", profile]
        if self.target in AHEAD_OF_TIME and self.device:
            words += ["--compute-capability", self.device.compute_capability]
        return self.run("janus_edge", [*words, "--json"])

    def _painting(self, subject: str, precision: str, engine: Path) -> Check:
        try:
            reference = self.models.reference(precision)
        except UnavailableError as why:
            return self._lacking(subject, PAINTING, f"the CPU's run is not here: {why}", why.broken)
        outcome = self.run("benchmarks.gpu_check.painting", [engine, reference])
        return self._check(subject, PAINTING, outcome, figures.of_painting)

    def _language_step(self, subject: str, precision: str, positions: int) -> Outcome:
        engine = self.engines[subject]
        if self.target in MODULES:
            engine = self.scratch / f"{subject}-{self.target}-{positions}"
            profile = f"rows=2,prefill=16:64,capacity={positions}"
            built = self._build(self.models.bundle(precision), engine, profile)
            if built.code:
                return built
        return self.run(
            "benchmarks.gpu_check.language_step", [engine, "--capacity", str(positions)]
        )

    def _lacking(self, subject: str, name: str, why: str, broken: bool) -> Check:
        """A check whose input is not there; failed if it should have been."""
        return Check(self.target, subject, name, FAILED if broken else SKIPPED, why)

    def _check(self, subject: str, name: str, outcome: Outcome, judge: Judge) -> Check:
        return judged(self.target, subject, name, outcome, judge)


def capacities(bundle: Path) -> list[int]:
    """CAPACITIES, none larger than the bundle's model has positions."""
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    most = int(manifest["config"]["language"]["max_positions"])
    return [min(wanted, most) for wanted in CAPACITIES]


def judged(target: str, subject: str, name: str, outcome: Outcome, judge: Judge) -> Check:
    """What a command came to. One that failed may have printed its figures nevertheless."""
    if outcome.code in (LACKS_PACKAGE, NO_TIME):
        return Check(target, subject, name, SKIPPED, outcome.reason, {}, outcome.seconds)
    data = outcome.data
    if not data and not outcome.code:
        return Check(target, subject, name, FAILED, "it printed no JSON", {}, outcome.seconds)
    try:
        found, wrong = judge(data) if data else ({}, "")
    except (KeyError, TypeError, AttributeError) as other:
        found, wrong = {}, f"its JSON is of another form ({other!r})"
    why = wrong or outcome.reason
    state = FAILED if why else PASSED
    return Check(target, subject, name, state, why, found, outcome.seconds)
