"""What was checked and what came of it: JSON for programs, markdown for people."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janus_edge.atomic_file import written_aside
from janus_edge.bench.machine import Machine
from janus_edge.schema import to_dict

KIND, SCHEMA_VERSION = "janus-edge gpu-check", 2

INTERRUPTED = "interrupted: the finished checks only"

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: of a ``target``'s engine of the bundle ``subject``, or of neither ('').

    ``reason`` tells why it was skipped or failed; ``figures`` are JSON values, of failed ones too.
    """

    target: str
    subject: str
    name: str
    state: str
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.state not in (PASSED, FAILED, SKIPPED):
            raise ValueError(f"state must be passed, failed or skipped, found {self.state!r}")
        if (self.state != PASSED) != bool(self.reason):
            raise ValueError("a reason is told of what was skipped or failed, and of nothing else")

    @classmethod
    def absent(cls, target: str, why: str) -> Check:
        """Return the check of a target that cannot be checked here."""
        return cls(target, "", "target", SKIPPED, why)

    def __str__(self) -> str:
        where = " ".join(word for word in (self.target, self.subject, self.name) if word)
        return f"{self.state:<7}  {where}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU; ``cuda`` is the newest that its driver serves, ``driver`` and ``memory_mib`` are what
    `nvidia-smi` tells, None where it tells nothing."""

    name: str
    compute_capability: str
    cuda: str
    driver: str | None = None
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, and where they ran; ``device`` is None only if no GPU was asked for.

    ``size`` says whose weights were checked, ``command`` what was asked for, and ``seconds`` how long it
    took. ``warning`` is the first thing that a reader must know (REHEARSAL), or '' if there is none. An
    ``interrupted`` report holds the finished checks.
    """

    date: str
    machine: Machine
    versions: dict[str, str]
    device: Device | None
    checks: tuple[Check, ...]
    command: str = ""
    seconds: float = 0.0
    warning: str = ""
    size: str = "miniature"
    interrupted: bool = False
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION

    @property
    def counts(self) -> dict[str, int]:
        """How many checks there are of each state."""
        found = Counter(check.state for check in self.checks)
        return {state: found[state] for state in (PASSED, FAILED, SKIPPED)}

    @property
    def ran(self) -> bool:
        """Whether anything was checked at all."""
        return any(check.state != SKIPPED for check in self.checks)

    @property
    def stem(self) -> str:
        """The name of its files, by the device's: gpu-check-nvidia-h100-80gb-hbm3."""
        name = self.device.name if self.device else "none"
        kind = "rehearsal-gpu-check-" if self.warning else "gpu-check-"
        kind += "" if self.size == "miniature" else f"{self.size}-"
        # its own name, so that it replaces no complete report
        kind += "interrupted-" if self.interrupted else ""
        return kind + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write it to ``folder`` as JSON and as markdown, each whole or not at all; their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / f"{self.stem}.json", folder / f"{self.stem}.md"
        texts = self.json, self.text
        for path, text in zip(paths, texts, strict=True):
            with written_aside(path) as aside:
                aside.write_text(text.rstrip("\n") + "\n", "utf-8")
        return paths

    @property
    def gpu(self) -> str:
        """The GPU in words."""
        device = self.device
        if device is None:
            return "no GPU"
        gpu = f"{device.name}, compute capability {device.compute_capability}, CUDA {device.cuda}"
        gpu += f", driver {device.driver}" if device.driver else ""
        return gpu + (f", {device.memory_mib} MiB" if device.memory_mib else "")

    @property
    def json(self) -> str:
        """The report as JSON."""
        return json.dumps(to_dict(self), indent=1, ensure_ascii=False, allow_nan=False)

    @property
    def text(self) -> str:
        """The report as markdown: the machine, a row for each engine, the checks and their figures."""
        from benchmarks.gpu_check.table import (
            COLUMNS,
            capacity_lines,
            markdown,
            model_lines,
            rows,
        )

        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines = [
            "# gpu-check", "", *([f"**{self.warning}**", ""] if self.warning else []),
            *([f"**{INTERRUPTED}**", ""] if self.interrupted else []),
            f"* date: {self.date}", f"* command: {self.command}", f"* seconds: {self.seconds:.0f}",
            f"* GPU: {self.gpu}",
            f"* processor: {self.machine.processor}, {self.machine.processors} processors, "
            f"{self.machine.memory_bytes / 2**30:.0f} GiB, {self.machine.system}",
            f"* versions: {versions}",
            "* " + ", ".join(f"{count} {state}" for state, count in self.counts.items()),
            "", *markdown(COLUMNS, rows(self.checks)),
            "", *(f"* {line}" for line in (*model_lines(self.checks), *capacity_lines(self.checks))),
            "", "| target | bundle | check | result | seconds | reason |", "|---|---|---|---|---:|---|",
        ]  # fmt: skip
        for c in self.checks:
            cells = (c.target, c.subject, c.name, c.state, f"{c.seconds:.1f}", _cell(c.reason))
            lines.append(f"| {' | '.join(cells)} |")
        for check in self.checks:
            if check.figures:
                title = " ".join(w for w in (check.target, check.subject, check.name) if w)
                lines += ["", f"## {title}", "", "| figure | |", "|---|---|"]
                lines += [f"| {name} | {value} |" for name, value in _leaves(check.figures)]
        return "\n".join(lines)


def _leaves(figures: Any, name: str = "") -> list[tuple[str, str]]:
    """Each number or word of nested figures, by its dotted name."""
    if isinstance(figures, dict):
        return [
            leaf
            for key, value in figures.items()
            for leaf in _leaves(value, f"{name}.{key}".lstrip("."))
        ]
    if isinstance(figures, (list, tuple)):
        return [leaf for i, value in enumerate(figures) for leaf in _leaves(value, f"{name}[{i}]")]
    text = f"{figures:.6g}" if isinstance(figures, float) else str(figures)
    return [(name, _cell(text))]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
