"""The checks at a published model's dimensions: times only, since the weights are random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.checks import BUILD, STEP, skipped
from benchmarks.gpu_check.engine_commands import (
    ATTENTION,
    CAPACITY,
    EngineCommands,
    as_it_is,
    judged,
)
from benchmarks.gpu_check.models import UnavailableError
from benchmarks.gpu_check.random_models import RandomModels
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check

LANGUAGE_MODEL, DECODE = "language model", "vq decoder"

EVERY = (BUILD, STEP, LANGUAGE_MODEL, DECODE, ATTENTION)

#: The position half-way through a picture of 576 codes, and the length of a prompt with an image.
POSITION, PREFILL = 330, 620

#: The cache of a picture, with the prompt in one piece.
_CAPACITY = 640
_PROFILE = f"rows=2,prefill=64:640,capacity={_CAPACITY}"

#: A builder holds the weights twice, plus scratch memory and libraries.
_TIMES, _BESIDES_MIB = 2.5, 1536


@dataclass(frozen=True, slots=True)
class RandomChecks:
    """The checks of the target that ``commands`` are for, on a GPU of ``memory_mib`` (None: unknown)."""

    commands: EngineCommands
    models: RandomModels
    memory_mib: int | None
    engines: dict[str, Path] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, precision: str) -> Iterator[Check]:
        """Yield the checks in ``precision``, in the order of EVERY."""
        subject, commands = f"{self.models.dimensions}-{precision}", self.commands
        target = commands.target
        try:
            bundle = self.models.bundle(precision)
        except UnavailableError as why:
            state = FAILED if why.broken else SKIPPED
            yield Check(target, subject, BUILD, state, f"there is no bundle: {why}")
            yield from skipped(target, subject, "there is no bundle", EVERY[1:])
            return
        if too_large := self._too_large(bundle):
            yield from skipped(target, subject, too_large, EVERY)
            return
        engine = commands.scratch / f"{subject}-{target}"
        outcome = commands.build(bundle, engine, _PROFILE)
        built = judged(target, subject, BUILD, outcome, figures.of_build)
        yield built
        if built.state != PASSED:
            yield from skipped(target, subject, "its engine was not built", EVERY[1:])
            return
        self.engines[subject] = engine
        words: list[str | Path] = [engine, bundle, "--seconds", "1"]
        timed = commands.run("benchmarks.gpu_check.step_time", words)
        self.steps[subject] = timed.data
        yield judged(target, subject, STEP, timed, figures.of_step)
        alone = commands.step(engine, _CAPACITY, POSITION, PREFILL)
        yield judged(target, subject, LANGUAGE_MODEL, alone, as_it_is)
        decoded = commands.run("benchmarks.gpu_check.decode_time", [engine])
        yield judged(target, subject, DECODE, decoded, as_it_is)
        yield commands.attention(subject, engine)

    def capacity(self, precision: str) -> Check:
        """As :meth:`TargetChecks.capacity`."""
        subject, target = f"{self.models.dimensions}-{precision}", self.commands.target
        if subject not in self.engines:
            return skipped(target, subject, "its engine was not built", (CAPACITY,))[0]
        bundle, step = self.models.bundle(precision), self.steps.get(subject, {})
        return self.commands.capacity(subject, bundle, self.engines[subject], step)

    def _too_large(self, bundle: Path) -> str:
        """Return why this GPU should not be tried; '' if the bundle fits or the memory is unknown."""
        if self.memory_mib is None:
            return ""
        mib = sum(f.stat().st_size for f in bundle.rglob("*") if f.is_file()) / 2**20
        needed = _TIMES * mib + _BESIDES_MIB
        if needed <= self.memory_mib:
            return ""
        return f"building may take {needed:.0f} MiB, the GPU has {self.memory_mib}"
