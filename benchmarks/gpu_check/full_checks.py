"""Checks that take longer than five minutes: each graph, each plan, whole pictures and answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.checks import TargetChecks, skipped
from benchmarks.gpu_check.engine_commands import judged
from benchmarks.gpu_check.processes import Outcome
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check
from janus_edge.bench import Report as BenchReport
from janus_edge.errors import InputError
from janus_edge.tensorrt_module import MODULES

GRAPHS, PLANS = "parity: ONNX Runtime CPU", "parity: plans"
LATENCY, MEMORY = "latency", "memory"

NAMES = (GRAPHS, PLANS, LATENCY, MEMORY)


def full(checks: TargetChecks, precision: str, repetitions: int) -> Iterator[Check]:
    """Yield the checks of an engine that ``checks`` built, in the order of NAMES."""
    target, subject = checks.target, f"miniature-{precision}"
    if subject not in checks.engines:
        yield from skipped(target, subject, "its engine was not built", NAMES)
        return
    bundle, engine = checks.models.bundle(precision), checks.engines[subject]
    parity = checks.commands.run("janus_edge", ["parity", bundle, engine, "--json"])
    yield judged(target, subject, GRAPHS, parity, lambda d: figures.of_cpu_parity(d, precision))
    why = ""
    if target not in MODULES:
        why = "Polygraphy runs plans of TensorRT only"
    elif importlib.util.find_spec("polygraphy") is None:
        why = "Polygraphy is not installed; pip install 'janus-edge[polygraphy]'"
    if why:
        yield from skipped(target, subject, why, (PLANS,))
    else:
        outcome = checks.commands.run(
            "janus_edge", ["parity", bundle, engine, "--engines", "--json"]
        )
        yield judged(target, subject, PLANS, outcome, figures.of_engine_parity)
    file = engine.with_name(f"{engine.name}.bench.json")
    words: list[str | Path] = [
        "bench",
        engine,
        "--whole",
        "--repetitions",
        str(repetitions),
        "--json",
        file,
    ]
    outcome = checks.commands.run("janus_edge", words)
    yield from _bench(target, subject, outcome, file)


def _bench(target: str, subject: str, outcome: Outcome, file: Path) -> Iterator[Check]:
    """Time whole pictures and answers in one process, one after the other."""
    if outcome.code:
        yield judged(target, subject, LATENCY, outcome, lambda _: ({}, ""))
        yield from skipped(target, subject, "measuring latency failed", (MEMORY,))
        return
    try:
        report = BenchReport.load(file)
    except InputError as unreadable:
        yield Check(target, subject, LATENCY, FAILED, str(unreadable), {}, outcome.seconds)
        yield from skipped(target, subject, "no report was written", (MEMORY,))
        return
    latency = figures.of_latency(report)
    yield Check(target, subject, LATENCY, PASSED, "", latency, outcome.seconds)
    memory = figures.of_memory(report)
    untold = [mode for mode, one in memory.items() if one["device_bytes"] is None]
    why = f"{target} does not report its device's memory" if untold else ""
    yield Check(target, subject, MEMORY, SKIPPED if why else PASSED, why, memory)
