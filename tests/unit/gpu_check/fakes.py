"""Commands that end as a test says, and the JSON that the real ones print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.processes import Outcome
from benchmarks.gpu_check.report import Device
from janus_edge.bench.report import Memory
from tests.unit.bench.reports import mode, report

DEVICE = Device("NVIDIA Fake 9000", "8.9", "13.0", "580.1", 24576)

BUILD = {
    "builds": {
        name: {"weight_bytes": 10, "workspace_bytes": scratch, "device_weight_bytes": 7}
        for name, scratch in (("language_model", 100), ("text_head", 30))
    },
    "build_seconds": 2.5, "compute_capability": "8.9", "tools": {"tensorrt": "10.16.1"},
}  # fmt: skip

TORCH = {
    "stages": {"vq_decoder": {"measure": "snr_db", "snr_db": 99.0, "tolerance": 90.0, "passed": True}},
    "steps": 9, "equal_codes": 9, "first_differing_step": None, "passed": True,
}  # fmt: skip

_LOGITS = {"kl_mean": 1e-9, "kl_max": 1e-8, "top1": 1.0}
CPU = {
    "graphs": {
        "vq_encoder": {"snr_db": None, "finite": True},
        "vq_decoder": {"snr_db": 95.0, "finite": True},
    },
    "forced": {"guided": _LOGITS, "conditional": _LOGITS, "text": _LOGITS},
    "free_running": [{"codes": 256, "equal_codes": 256, "first_difference": None}],
}  # fmt: skip

PLANS = {
    "graphs": {"text_head": {"logits": {"passed": True}}}, "first_wrong": {}, "passed": True,
}  # fmt: skip


def bench_json(device_bytes: int | None = 5 << 20) -> str:
    """A report of `bench` that tells its device's memory, or does not."""
    memory = Memory(1 << 30, False, device_bytes)
    made = report(modes={"image": mode(memory=memory)})
    return json.dumps(replace(made).to_json())


@dataclass
class FakeRun:
    """Answers as JANUS-EDGE's commands do; ``outcomes`` replace those of the named kinds.

    Kinds are build, torch, cpu, plans, bench, export, save-trace and pytest. ``calls`` are the
    commands, in order.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    bench: str = field(default_factory=bench_json)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, module: str, arguments: Sequence[str | Path]) -> Outcome:
        words = tuple(map(str, arguments))
        self.calls.append((module, *words))
        kind = self.kind(module, words)
        if kind in self.outcomes:
            return self.outcomes[kind]
        if kind == "bench":
            Path(words[-1]).write_text(self.bench, "utf-8")
        if kind in ("export", "save-trace"):
            made = Path(words[2] if kind == "export" else words[-1])
            if kind == "export":
                made.mkdir()
            else:
                made.write_bytes(b"")
        printed = {"build": BUILD, "torch": TORCH, "cpu": CPU, "plans": PLANS}.get(kind)
        return Outcome(0, json.dumps(printed) if printed else "", "", 1.5)

    @staticmethod
    def kind(module: str, words: tuple[str, ...]) -> str:
        if module != "janus_edge":
            return module
        if words[0] != "parity":
            return words[0]
        if "--save-trace" in words:
            return "save-trace"
        if "--engines" in words:
            return "plans"
        return "torch" if words[1].endswith(".npz") else "cpu"


def failed(code: int, error: str, data: dict[str, Any] | None = None) -> Outcome:
    """A command that ended with ``code`` and these last words."""
    return Outcome(
        code, json.dumps(data) if data else "", f"progress\njanus-edge: error: {error}\n", 0.5
    )
