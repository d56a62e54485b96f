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

PICTURE = {
    "verdict": "rounding", "codes": 256, "equal_codes": 200, "equal_forced": 255,
    "first_difference": 120, "margin": 0.002, "top_two": 0.001, "deviation": 0.004,
    "first_cosine": 0.9999, "worst_cosine": 0.9998, "kl_mean": 1e-5, "kl_max": 1e-3,
}  # fmt: skip
PAINTING = {
    "verdict": "rounding", "pictures": 1, "equal_pictures": 0, "last_position_seen": 1.0,
    "same_bundle": True, "each": [PICTURE],
}  # fmt: skip

_TIMES = {"step_s": 2e-3, "step_p90_s": 3e-3, "first_code_s": 0.1, "timed": 30}
STEP = {
    "captured": _TIMES, "uncaptured": {**_TIMES, "step_s": 4e-3}, "captured_speedup": 2.0,
    "device_bytes": 5 << 20, "position": 99, "bytes_per_step": 7_000_000,
    "weight_bytes_per_step": {"float16": 6_000_000}, "cache_bytes_per_step": 1_000_000,
    "copy_bytes_per_second": 1e12, "limit_s": 7e-6, "share_of_limit": 0.0035,
    "sensors": {"watts": 300.0}, "device_state": {"power_mode": None}, "energy": {"joules": None, "seconds": 1.0, "source": "none"},
}  # fmt: skip

ATTENTION = {
    "recorded": "fused", "inspector": "fused", "layers": 3, "of_attention": ["mha"],
    "most_frequent": {"mha": 3},
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

MANIFEST = {"config": {"language": {"max_positions": 1024}}}

PRINTED = {
    "build": BUILD, "painting": PAINTING, "step_time": STEP, "attention": ATTENTION, "torch": TORCH,
    "cpu": CPU, "plans": PLANS, "decode_time": {"decode_s": 0.02, "first_s": 0.1},
    "language_step": {"step_s": 1e-3, "method": "captured", "position": 330, "prefill_tokens": 620,
                      "prefill_s": 0.05},
}  # fmt: skip


def bench_json(device_bytes: int | None = 5 << 20) -> str:
    """A report of `bench` that tells its device's memory, or does not."""
    memory = Memory(1 << 30, False, device_bytes)
    made = report(modes={"image": mode(memory=memory)})
    return json.dumps(replace(made).to_json())


@dataclass
class FakeRun:
    """Answer as the commands do; ``outcomes`` replace the answers of the named kinds.

    A kind is the command of JANUS-EDGE (for parity: torch, cpu or plans), or the last part of the
    module's name. ``calls`` are the commands, in order.
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
        if kind in ("export", "quantize"):
            bundle(Path(words[2]))
        if kind in ("save-trace", "reference", "calibrate"):
            Path(words[-1] if kind != "calibrate" else words[2]).write_bytes(b"")
        if kind == "random_bundles":
            bundle(Path(words[0]) / f"1b-{words[-1]}")
        printed = PRINTED.get(kind)
        if kind == "language_step":
            capacity = int(words[words.index("--capacity") + 1])
            printed = {**PRINTED[kind], "capacity": capacity, "step_s": 1e-3 + capacity * 1e-9}
        return Outcome(0, json.dumps(printed) if printed else "", "", 1.5)

    def kinds(self) -> list[str]:
        """Return the kinds of the commands that were called, in order."""
        return [self.kind(call[0], call[1:]) for call in self.calls]

    @staticmethod
    def kind(module: str, words: tuple[str, ...]) -> str:
        if module != "janus_edge":
            return module.rpartition(".")[2]
        if words[0] != "parity":
            return words[0]
        if "--save-trace" in words:
            return "save-trace"
        if "--engines" in words:
            return "plans"
        return "torch" if words[1].endswith(".npz") else "cpu"


def bundle(folder: Path) -> Path:
    """Make a folder that looks like a bundle."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST), "utf-8")
    return folder


def failed(code: int, error: str, data: dict[str, Any] | None = None) -> Outcome:
    """A command that ended with ``code`` and these last words."""
    return Outcome(
        code, json.dumps(data) if data else "", f"progress\njanus-edge: error: {error}\n", 0.5
    )
