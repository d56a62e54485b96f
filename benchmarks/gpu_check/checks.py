"""The checks of one target: an engine built of each bundle, compared, timed and weighed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.models import Models, UnavailableError
from benchmarks.gpu_check.processes import LACKS_PACKAGE, Outcome, Run
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check, Device
from janus_edge.bench import Report as BenchReport
from janus_edge.engine import AHEAD_OF_TIME
from janus_edge.errors import InputError
from janus_edge.tensorrt_module import MODULES

BUILD, TORCH, CPU, PLANS = "build", "parity: PyTorch", "parity: ONNX Runtime CPU", "parity: plans"
LATENCY, MEMORY = "latency", "memory"

NAMES = (BUILD, TORCH, CPU, PLANS, LATENCY, MEMORY)

#: Painting takes two rows a picture; prompts are compared two at a time.
PROFILE = "rows=2:8"

#: What a command's JSON comes to: figures, and what is wrong with them ('' for nothing).
Judge = Callable[[dict[str, Any]], tuple[dict[str, Any], str]]


def skipped(target: str, subject: str, why: str, names: tuple[str, ...] = NAMES) -> list[Check]:
    """A check of each of ``names`` that could not be made."""
    return [Check(target, subject, name, SKIPPED, why) for name in names]


@dataclass(frozen=True, slots=True)
class TargetChecks:
    """The checks of ``target`` on ``device``; engines go to the folder ``scratch``."""

    target: str
    device: Device | None
    models: Models
    run: Run
    scratch: Path
    repetitions: int = 5

    def of(self, precision: str) -> Iterator[Check]:
        """All checks with the miniature in ``precision``, in the order of NAMES."""
        subject = f"miniature-{precision}"
        try:
            bundle = self.models.bundle(precision)
        except UnavailableError as why:
            yield self._lacking(subject, BUILD, f"there is no bundle: {why}", why.broken)
            yield from skipped(self.target, subject, "there is no bundle", NAMES[1:])
            return
        engine = self.scratch / f"{subject}-{self.target}"
        built = self._check(subject, BUILD, self._build(bundle, engine), figures.of_build)
        yield built
        if built.state != PASSED:
            yield from skipped(self.target, subject, "its engine was not built", NAMES[1:])
            return
        yield self._torch(subject, engine)
        parity = self.run("janus_edge", ["parity", bundle, engine, "--json"])
        float_type = figures.FLOAT_TYPES[precision]
        yield self._check(subject, CPU, parity, lambda d: figures.of_cpu_parity(d, float_type))
        yield self._plans(subject, bundle, engine)
        yield from self._bench(subject, engine)

    def _build(self, bundle: Path, engine: Path) -> Outcome:
        words: list[str | Path] = ["build", bundle, engine, "--target", self.target]
        if self.target in MODULES:
            words += ["--profile", PROFILE]
        if self.target in AHEAD_OF_TIME and self.device:
            words += ["--compute-capability", self.device.compute_capability]
        return self.run("janus_edge", [*words, "--no-cache", "--json"])

    def _torch(self, subject: str, engine: Path) -> Check:
        try:
            trace = self.models.trace()
        except UnavailableError as why:
            return self._lacking(subject, TORCH, f"PyTorch's run is not here: {why}", why.broken)
        outcome = self.run("janus_edge", ["parity", trace, engine, "--json"])
        return self._check(subject, TORCH, outcome, figures.of_torch_parity)

    def _lacking(self, subject: str, name: str, why: str, broken: bool) -> Check:
        """A check whose input is not there; failed if it should have been."""
        return Check(self.target, subject, name, FAILED if broken else SKIPPED, why)

    def _plans(self, subject: str, bundle: Path, engine: Path) -> Check:
        why = ""
        if self.target not in MODULES:
            why = "Polygraphy runs plans of TensorRT only"
        elif importlib.util.find_spec("polygraphy") is None:
            why = "Polygraphy is not installed; pip install 'janus-edge[polygraphy]'"
        if why:
            return skipped(self.target, subject, why, (PLANS,))[0]
        outcome = self.run("janus_edge", ["parity", bundle, engine, "--engines", "--json"])
        return self._check(subject, PLANS, outcome, figures.of_engine_parity)

    def _bench(self, subject: str, engine: Path) -> Iterator[Check]:
        """Whole pictures and answers, one after the other in one process."""
        file = engine.with_name(f"{engine.name}.bench.json")
        repetitions = ["--repetitions", str(self.repetitions)]
        outcome = self.run("janus_edge", ["bench", engine, "--whole", *repetitions, "--json", file])
        try:
            report = None if outcome.code else BenchReport.load(file)
        except InputError as unreadable:
            yield self._made(subject, LATENCY, FAILED, str(unreadable), outcome)
            yield from skipped(self.target, subject, "no report was written", (MEMORY,))
            return
        if report is None:
            yield self._check(subject, LATENCY, outcome, lambda _: ({}, ""))
            yield from skipped(self.target, subject, "measuring latency failed", (MEMORY,))
            return
        found = figures.of_latency(report)
        yield Check(self.target, subject, LATENCY, PASSED, "", found, outcome.seconds)
        memory = figures.of_memory(report)
        untold = [mode for mode, one in memory.items() if one["device_bytes"] is None]
        why = f"{self.target} does not tell its device's memory" if untold else ""
        yield Check(self.target, subject, MEMORY, SKIPPED if why else PASSED, why, memory)

    def _check(self, subject: str, name: str, outcome: Outcome, judge: Judge) -> Check:
        """What a command came to. One that failed may have printed its figures nevertheless."""
        if outcome.code == LACKS_PACKAGE:
            return self._made(subject, name, SKIPPED, outcome.reason, outcome)
        data = outcome.data
        if not data and not outcome.code:
            return self._made(subject, name, FAILED, "it printed no JSON", outcome)
        try:
            found, wrong = judge(data) if data else ({}, "")
        except (KeyError, TypeError, AttributeError) as other:
            found, wrong = {}, f"its JSON is of another form ({other!r})"
        why = wrong or outcome.reason
        return self._made(subject, name, FAILED if why else PASSED, why, outcome, found)

    def _made(
        self, subject: str, name: str, state: str, why: str, outcome: Outcome,
        found: dict[str, Any] | None = None,
    ) -> Check:  # fmt: skip
        return Check(self.target, subject, name, state, why, found or {}, outcome.seconds)
