"""A report of made-up figures, and clocks that go as they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from janus_edge.bench.bandwidth import Bandwidth
from janus_edge.bench.device_state import DeviceState, Reading
from janus_edge.bench.distribution import Distribution
from janus_edge.bench.energy import Energy, Joules, Part
from janus_edge.bench.machine import Machine
from janus_edge.bench.options import Options
from janus_edge.bench.report import (
    KIND,
    SCHEMA_VERSION,
    CurvePoint,
    Memory,
    ModeReport,
    Passes,
    Report,
    Start,
    Subject,
    Sweep,
    SweepPoint,
)
from janus_edge.bench.roofline import Limit, Roofline, Traffic

MACHINE = Machine("Processor 9000", "x86_64", ("avx2",), 2, 2, 8 << 30, 32 << 20, "Linux 6")


def ticking(step: int = 1000) -> Callable[[], int]:
    """A clock that goes on by ``step`` at each look."""
    now = 0

    def clock() -> int:
        nonlocal now
        now += step
        return now

    return clock


def spread(seconds: float) -> Distribution:
    """A distribution around a median."""
    return Distribution.of([0.9 * seconds, seconds, 1.2 * seconds])


def mode(factor: float = 1.0, **changes: Any) -> ModeReport:
    """Painting; all durations times ``factor``."""
    step = {
        "image_embedding": 20e-6, "language_model": 700e-6, "image_head": 100e-6,
        "guided_sampler": 80e-6, "host": 100e-6, "step": 1000e-6, "outside": 100e-6,
    }  # fmt: skip
    stages = {
        "tokenise": 1e-4, "prefill": 0.01, "host_before_first": 0.001, "first": 0.012,
        "vq_decoder": 0.1,
    }  # fmt: skip
    gaps = {"image_embedding": 40e-6, "language_model": 5e-6, "image_head": 45e-6}
    whole = ModeReport(
        prompt_tokens=20,
        rows=2,
        pictures=1,
        steps=64,
        whole=False,
        capacity=640,
        start=Start(0.02, {"language_model": 0.5}, 0.6),
        stages={name: spread(factor * v) for name, v in stages.items()},
        step={name: spread(factor * v) for name, v in step.items()},
        host={name: spread(factor * v) for name, v in gaps.items()},
        outside_share=0.1,
        tokens_per_second=1000 / factor,
        images_per_second=1.5 / factor,
        memory=Memory(1 << 30, False, None),
        energy=Energy(
            12.0, 4.0, "RAPL (package-0)", 1.0, 8.0,
            (Part("package-0", 12.0, True, 1.0), Part("dram", None, False, None, "lost after 1.0 s (gone)")),
            ("the GPU",),
        ),
        joules_per_token=0.0375,
        gross=Joules(0.0375, 0.003, 2.0),
        net=Joules(0.025, 0.002, 1.3333),
        device=DeviceState(
            "25W (1)", False, (Reading("GPU clock", "MHz", 306.0, 900.0, 1020.0),), ("power cap",),
            ("EMC clock: only root may read /sys/kernel/debug",),
        ),
        curve=(CurvePoint(20, 0.9e-3), CurvePoint(30, 1.1e-3)),
        roofline=Roofline(
            50,
            {
                "language_model": Limit(Traffic({"int4": 9_000_000, "int64": 8}, 99_992, 0), 455e-6, 0.65),
                "guided_sampler": Limit(Traffic({"int64": 24}, 0, 0), 1e-9, 0.00001),
                "step": Limit(Traffic({"int4": 9_000_000, "int64": 32}, 99_992, 0), 455e-6, 0.455),
            },
            "a step fits the cache",
        ),
    )  # fmt: skip
    return replace(whole, **changes)


#: Two requests that painted several codes a pass.
PASSES = Passes((20, 21), (64, 66), {"8": 30, "16": 11}, 128 / 41)


def sweep(name: str = "pictures", values: tuple[int, ...] = (1, 2, 4)) -> Sweep:
    """A sweep in which all grows with the value."""
    points = (
        SweepPoint(v, 2 * v, v, 20 * v, 640, spread(0.01 * v), spread(0.001 * v), spread(7e-4 * v), 1e3)
        for v in values
    )  # fmt: skip
    return Sweep(name, "image", tuple(points))


def report(**changes: Any) -> Report:
    """A whole report with one mode and one sweep."""
    whole = Report(
        kind=KIND,
        schema_version=SCHEMA_VERSION,
        date="2026-11-23 05:34 UTC",
        machine=MACHINE,
        versions={"janus-edge": "1", "onnxruntime": "1.31.1"},
        subject=Subject("a <b> & c", "0" * 64, "int4-weight", "ort-cpu", 10_000_000),
        options=Options(modes=("image",), sweeps={"pictures": (1, 2, 4)}),
        bandwidth=Bandwidth(20e9, "memchr", 2, 256 << 20, 24),
        modes={"image": mode()},
        sweeps=(sweep(),),
    )
    return replace(whole, **changes)
