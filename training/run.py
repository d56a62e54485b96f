"""A training run that can be stopped at any time: its state, its log, its learning rate."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from janus_edge.atomic_file import written_aside

_SAVE_SECONDS = 120.0
_LOG_STEPS = 20


class Run:
    """``steps`` training steps of ``model`` below ``folder``, taken up where they were left.

    ``NAME.state.pt`` is written every two minutes and at the end, aside and then renamed;
    ``NAME.log.jsonl`` gets a line every ``log_steps``. A ``constant`` learning rate does not fall after
    the warm-up. Of several processes that train one model together
    only the ``first`` writes.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        steps: int,
        *,
        warm_up: int = 40,
        constant: bool = False,
        log_steps: int = _LOG_STEPS,
        first: bool = True,
    ) -> None:
        self._first, self._constant, self._log_steps = first, constant, log_steps
        self.model, self.optimizer, self.steps, self.warm_up = model, optimizer, steps, warm_up
        self._state, self._log = folder / f"{name}.state.pt", folder / f"{name}.log.jsonl"
        self._peaks = [group["lr"] for group in optimizer.param_groups]
        self.step, self._seconds, self._sums, self._count = 0, 0.0, dict[str, float](), 0
        if self._state.exists():
            state = torch.load(self._state, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            self.step, self._seconds = state["step"], state["seconds"]
            if first:
                print(f"{name}: going on from step {self.step} of {steps}", flush=True)

    def __iter__(self) -> Iterator[int]:
        """The steps that are left; each sets the learning rate: warm-up, then a cosine to 2 %."""
        saved = started = time.monotonic()
        before = self._seconds
        while self.step < self.steps:
            rise = min(1.0, (self.step + 1) / self.warm_up)
            fall = 0.02 + 0.98 * (1 + math.cos(math.pi * self.step / self.steps)) / 2
            fall = 1.0 if self._constant else fall
            for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = peak * rise * fall
            yield self.step
            self.step += 1
            now = time.monotonic()
            self._seconds = before + now - started
            if self.step % self._log_steps == 0:
                self._write_log()
            if now - saved > _SAVE_SECONDS:
                self.save()
                saved = now
        self.save()

    def note(self, **values: float) -> None:
        """Figures of this step; the log has their means."""
        for key, value in values.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        self._count += 1

    def save(self) -> None:
        """Write the state, so that a killed run loses two minutes at most."""
        if not self._first:
            return
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self._seconds,
        }
        with written_aside(self._state) as aside:
            torch.save(state, aside)

    def _write_log(self) -> None:
        means = {key: round(value / self._count, 5) for key, value in self._sums.items()}
        self._sums, self._count = {}, 0
        if not self._first:
            return
        line = {"step": self.step, "seconds": round(self._seconds, 1), **means}
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        left = self._seconds / self.step * (self.steps - self.step)
        print(" ".join(f"{k} {v}" for k, v in line.items()), f"left {left:.0f} s", flush=True)
