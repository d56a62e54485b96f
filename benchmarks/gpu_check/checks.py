"""The checks of one target: build engines, compare their pictures, time their steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.engine_commands import ATTENTION, CAPACITY, EngineCommands, judged
from benchmarks.gpu_check.models import Models, UnavailableError
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check

BUILD, PAINTING, STEP, TORCH = "build", "painting", "step", "parity: PyTorch"

#: The checks of every precision; CAPACITY and TORCH run for the first one only.
EVERY = (BUILD, PAINTING, STEP, ATTENTION)

#: Painting takes two rows a picture; prompts are compared two at a time.
PROFILE = "rows=2:8"


def skipped(target: str, subject: str, why: str, names: tuple[str, ...]) -> list[Check]:
    """A check of each of ``names`` that could not be made."""
    return [Check(target, subject, name, SKIPPED, why) for name in names]


@dataclass(frozen=True, slots=True)
class TargetChecks:
    """The checks of the target that ``commands`` are for.

    Each step is timed for ``seconds``. ``engines`` and ``steps`` hold what was built and timed so far,
    by the bundle's name.
    """

    commands: EngineCommands
    models: Models
    seconds: float = 3.0
    engines: dict[str, Path] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Its name."""
        return self.commands.target

    def of(self, precision: str) -> Iterator[Check]:
        """Yield the checks in ``precision``, in the order of EVERY."""
        subject, commands = f"miniature-{precision}", self.commands
        try:
            bundle = self.models.bundle(precision)
        except UnavailableError as why:
            yield self._lacking(subject, BUILD, f"there is no bundle: {why}", why.broken)
            yield from skipped(self.target, subject, "there is no bundle", EVERY[1:])
            return
        engine = commands.scratch / f"{subject}-{self.target}"
        outcome = commands.build(bundle, engine, PROFILE)
        built = judged(self.target, subject, BUILD, outcome, figures.of_build)
        yield built
        if built.state != PASSED:
            yield from skipped(self.target, subject, "its engine was not built", EVERY[1:])
            return
        self.engines[subject] = engine
        yield self._painting(subject, precision, engine)
        words: list[str | Path] = [engine, bundle, "--seconds", str(self.seconds)]
        timed = commands.run("benchmarks.gpu_check.step_time", words)
        self.steps[subject] = timed.data
        yield judged(self.target, subject, STEP, timed, figures.of_step)
        yield commands.attention(subject, engine)

    def capacity(self, precision: str) -> Check:
        """Time the language model's step with a small and a large cache, filled to the same position."""
        subject = f"miniature-{precision}"
        if subject not in self.engines:
            return skipped(self.target, subject, "its engine was not built", (CAPACITY,))[0]
        bundle, step = self.models.bundle(precision), self.steps.get(subject, {})
        return self.commands.capacity(subject, bundle, self.engines[subject], step)

    def torch(self, precision: str) -> Check:
        """Compare each stage with PyTorch, and codes after PyTorch's own codes."""
        subject = f"miniature-{precision}"
        if subject not in self.engines:
            return skipped(self.target, subject, "its engine was not built", (TORCH,))[0]
        try:
            trace = self.models.trace()
        except UnavailableError as why:
            return self._lacking(subject, TORCH, f"PyTorch's run is missing: {why}", why.broken)
        words: list[str | Path] = ["parity", trace, self.engines[subject], "--json"]
        outcome = self.commands.run("janus_edge", words)
        return judged(self.target, subject, TORCH, outcome, figures.of_torch_parity)

    def _painting(self, subject: str, precision: str, engine: Path) -> Check:
        try:
            reference = self.models.reference(precision)
        except UnavailableError as why:
            return self._lacking(subject, PAINTING, f"the CPU's run is missing: {why}", why.broken)
        outcome = self.commands.run("benchmarks.gpu_check.painting", [engine, reference])
        return judged(self.target, subject, PAINTING, outcome, figures.of_painting)

    def _lacking(self, subject: str, name: str, why: str, broken: bool) -> Check:
        """A check whose input is not there; failed if it should have been."""
        return Check(self.target, subject, name, FAILED if broken else SKIPPED, why)
