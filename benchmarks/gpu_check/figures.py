"""What the commands' JSON tells: the figures of a check, and what is wrong with them."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.gpu_check.verdict import GOOD
from janus_edge.bench import Report
from janus_edge.bench.timeline import TOTAL
from janus_edge.compare import TOLERANCE_DB

Figures = dict[str, Any]

#: Attention costs by capacity if a step takes longer by more than a share of the time to read the whole
#: larger cache, and by more than the spread of repeated measurements.
_BY_CAPACITY, _SAME = 0.25, 1.03


def of_build(manifest: Figures) -> tuple[Figures, str]:
    """Of `build --json`: bytes as the builder states them, summed over the graphs."""
    builds = [*manifest["builds"].values()]
    weights = [one["device_weight_bytes"] for one in builds]
    scratch = [one["workspace_bytes"] for one in builds]
    return {
        "build_seconds": manifest["build_seconds"],
        "compute_capability": manifest["compute_capability"],
        "tools": manifest["tools"],
        "constant_bytes": sum(one["weight_bytes"] for one in builds),
        "device_weight_bytes": None if None in weights else sum(weights),
        # one piece of scratch memory serves all graphs
        "scratch_bytes": None if None in scratch else max(scratch),
        "notes": [note for one in builds for note in one.get("notes", ())],
    }, ""


def of_torch_parity(report: Figures) -> tuple[Figures, str]:
    """Of `parity TRACE --json`: stages against PyTorch, and codes after PyTorch's own codes."""
    stages = {
        name: {d["measure"]: d[d["measure"]], "tolerance": d["tolerance"], "passed": d["passed"]}
        for name, d in report["stages"].items()
    }
    missed = [name for name, stage in stages.items() if not stage["passed"]]
    if not report["passed"] and not missed:
        missed = [f"the code at step {report['first_differing_step']}"]
    figures = {
        **{name: report[name] for name in ("steps", "equal_codes", "first_differing_step")},
        "stages": stages,
    }
    return figures, f"misses its tolerance: {', '.join(missed)}" if missed else ""


def of_painting(report: Figures) -> tuple[Figures, str]:
    """Judge `painting`: the verdict and the first difference; wrong unless rounding explains it."""
    verdict, each = report["verdict"], report["each"]
    wrong = ""
    if verdict not in GOOD:
        worst = next(one for one in each if one["verdict"] == verdict)
        wrong = (
            f"{verdict}: cosine {worst['first_cosine']:.4f} at the first code, "
            f"{worst['worst_cosine']:.4f} after; {report['last_position_seen']:.1%} seen of the last position"
        )
    elif not report["same_bundle"]:
        wrong = "the reference is of another bundle: remove it to make it again"
    return report, wrong


def of_step(report: Figures) -> tuple[Figures, str]:
    """Judge `step_time`: a time has no limit, so nothing is wrong."""
    return {**report, "step_s": report["captured"]["step_s"]}, ""


def of_attention(report: Figures) -> tuple[Figures, str]:
    """Judge `attention`: what the build recorded and what the inspector reports."""
    return {"recorded": report["recorded"], "inspector": report["inspector"], **report}, ""


def of_capacity(small: Figures, large: Figures, step: Figures) -> Figures:
    """Judge two runs of `language_step` by what reading the whole larger cache would cost.

    ``step`` holds the figures of `step_time`, which give the bandwidth and the bytes per position.
    """
    ratio, extra = large["step_s"] / small["step_s"], large["step_s"] - small["step_s"]
    whole = by_capacity = None
    if step:
        position_bytes = step["cache_bytes_per_step"] / (step["position"] + 1)
        added = (large["capacity"] - small["capacity"]) * position_bytes
        whole = added / step["copy_bytes_per_second"]
        by_capacity = ratio > _SAME and extra > _BY_CAPACITY * whole
    return {
        "small": small["capacity"], "large": large["capacity"], "small_step_s": small["step_s"],
        "large_step_s": large["step_s"], "ratio": ratio, "extra_s": extra,
        "reading_all_of_it_s": whole, "costs_by_capacity": by_capacity, "method": small["method"],
    }  # fmt: skip


def of_cpu_parity(report: Figures, precision: str) -> tuple[Figures, str]:
    """Of `parity BUNDLE ENGINE --json`: graphs, logits and codes against ONNX Runtime on the CPU.

    Graphs must reach the signal-to-noise ratio of their float type (`compare.TOLERANCE_DB`), and in
    float32 every code that is painted must be the same: half precision may round a tie otherwise.
    Integer products of the two round differently, so quantised graphs have no limit here.
    """
    float_type = "float32" if precision == "fp32" else "float16"
    tolerance = TOLERANCE_DB[float_type] if precision in ("fp32", "fp16") else -math.inf
    missed = [
        f"{name} has {graph['snr_db']:.1f} dB of {tolerance:g}"
        for name, graph in report["graphs"].items()
        if graph["snr_db"] is not None and not graph["snr_db"] >= tolerance
    ]
    missed += [f"{name} is not finite" for name, g in report["graphs"].items() if not g["finite"]]
    painted = report["free_running"]
    codes, equal = (sum(one[name] for one in painted) for name in ("codes", "equal_codes"))
    if not codes:
        missed.append("nothing could be painted")
    elif float_type == "float32" and equal != codes:
        missed.append(f"{codes - equal} of {codes} codes differ")
    logits = {
        name: {figure: report["forced"][name][figure] for figure in ("kl_mean", "kl_max", "top1")}
        for name in ("guided", "conditional", "text")
    }
    return {
        "snr_db": {name: g["snr_db"] for name, g in report["graphs"].items() if g["snr_db"]},
        "logits": logits,
        "codes": codes,
        "equal_codes": equal,
        "first_differences": [one["first_difference"] for one in painted],
    }, "; ".join(missed)


def of_engine_parity(report: Figures) -> tuple[Figures, str]:
    """Of `parity --engines --json`: every output of every plan, run by Polygraphy."""
    missed = [
        f"{graph} {name}"
        for graph, outputs in report["graphs"].items()
        for name, d in outputs.items()
        if not d["passed"]
    ]
    figures = {
        "outputs": sum(map(len, report["graphs"].values())),
        "first_wrong": report["first_wrong"],
    }
    return figures, f"misses its tolerance: {', '.join(missed)}" if missed else ""


def of_latency(report: Report) -> Figures:
    """Of `bench`: seconds from a process' start to the first token, and of the steps behind it."""
    return {
        mode: {
            "first_request_s": found.start.first,
            "stages_median_s": {name: stage.median for name, stage in found.stages.items()},
            "step_median_s": found.step[TOTAL].median,
            "step_p90_s": found.step[TOTAL].p90,
            "step_p99_s": found.step[TOTAL].p99,
            "tokens_per_second": found.tokens_per_second,
            "images_per_second": found.images_per_second,
        }
        for mode, found in report.modes.items()
    }


def of_memory(report: Report) -> Figures:
    """Of `bench`: bytes at most, of the process and of the device (None where it is not told)."""
    return {
        mode: {"process_bytes": found.memory.process, "device_bytes": found.memory.device}
        for mode, found in report.modes.items()
    }
