"""What each recipe costs and saves at published dimensions: size, memory, error, and time of a step.

    python benchmarks/quantization_cost.py work/janus-1b --folder work/quantised-1b \
        --output benchmarks/results/quantization-1b.json

Quantises a float bundle by each recipe in a process of its own (seconds, peak resident bytes),
compares every result with its parent (`janus-edge parity`), builds `ort-cpu` engines and measures
their steps with `janus-edge bench`, ``--rounds`` times in turn, so that what else the machine does
meets all of them. ``int8`` reads ``--calibration``; without it one prompt is painted to make one. With
random weights the errors say that the graphs work at these sizes, not what a picture loses. A part
that is in the output already is not done again. ``--only-quantise`` leaves out all but the first part,
which is what fits a small machine at the 7B's dimensions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from export_memory import folder_bytes, run
from machine import describe

from janus_edge.atomic_file import written_aside
from janus_edge.runtime.bundle_parity import compare_bundles
from janus_edge.runtime.measuring_options import MeasuringOptions
from janus_edge.runtime.pipeline import Janus
from janus_edge.schema import to_dict

JANUS_EDGE = [sys.executable, "-m", "janus_edge"]


@dataclass(frozen=True)
class Quantised:
    """Options of `janus-edge quantize`; ``calibrated`` recipes are given the calibration file."""

    options: tuple[str, ...]
    calibrated: bool = False


RECIPES = {
    "int8": Quantised(("--recipe", "int8"), calibrated=True),
    "int8-weight": Quantised(("--recipe", "int8-weight", "--scaling", "none")),
    **{
        f"int4-weight block {block}": Quantised(
            ("--recipe", "int4-weight", "--scaling", "none", "--block", str(block))
        )
        for block in (32, 64, 128)
    },
    "int4-weight block 32 AWQ": Quantised(
        ("--recipe", "int4-weight", "--scaling", "awq", "--block", "32"), calibrated=True
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a float bundle")
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("work/quantised-cost"))
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--only-quantise", action="store_true")
    parser.add_argument("--parity-steps", type=int, default=8)
    parser.add_argument("--steps", type=int, default=24, help="codes that a round of bench draws")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    report = json.loads(given.output.read_text("utf-8")) if given.output.exists() else {}
    report.update(command=_command(), machine=describe())
    variants = report.setdefault("variants", {})
    given.folder.mkdir(parents=True, exist_ok=True)
    calibration = given.calibration or given.folder / "calibration.npz"
    if not calibration.exists() and any(RECIPES[name].calibrated for name in given.only):
        line = [*JANUS_EDGE, "calibrate", str(given.bundle), str(calibration), "--limit", "1"]
        report["calibrate"] = run(line)
        _save(given.output, report)
    variants.setdefault("float", {})["bytes"] = folder_bytes(given.bundle)
    for name in given.only:
        _quantise(given, name, calibration, variants.setdefault(name, {}))
        _save(given.output, report)
    if given.only_quantise:
        return
    for name in ("float", *given.only):
        _build(given, name, variants[name])
        _save(given.output, report)
    for done in range(given.rounds):
        for name in ("float", *given.only):
            if len(variants[name].setdefault("rounds", [])) <= done:
                variants[name]["rounds"].append(_bench(given, name))
                _save(given.output, report)
    for row in variants.values():
        if row.get("rounds"):
            steps = [one["step_ms"] for one in row["rounds"]]
            row["step_ms"] = {"median": median(steps), "min": min(steps), "max": max(steps)}
            row["peak_resident_bytes"] = max(one["peak_resident_bytes"] for one in row["rounds"])
    first = variants["float"].get("rounds", [])
    for row in variants.values():
        if row.get("rounds"):
            pairs = zip(first, row["rounds"], strict=False)
            row["times_faster"] = median(a["step_ms"] / b["step_ms"] for a, b in pairs)
    _save(given.output, report)


def _quantise(given: argparse.Namespace, name: str, calibration: Path, row: dict[str, Any]) -> None:
    target = _bundle(given, name)
    if "quantise" not in row or not target.exists():
        line = [*JANUS_EDGE, "quantize", str(given.bundle), str(target), "--force"]
        line += RECIPES[name].options
        if RECIPES[name].calibrated:
            line += ["--calibration", str(calibration)]
        row["quantise"] = run(line)
        row["bytes"] = folder_bytes(target)
    if "parity" not in row and not given.only_quantise:
        row["parity"] = _parity(given, target)


def _parity(given: argparse.Namespace, target: Path) -> Any:
    """One prompt's first codes, one short answer about the shipped photograph."""
    options = MeasuringOptions(
        prompts=("a red fox sitting in fresh snow",), steps=given.parity_steps, pictures=0,
        questions=("What is in this picture?",), max_new_tokens=given.parity_steps, free_running=0,
    )  # fmt: skip
    with Janus.load(given.bundle) as reference, Janus.load(target) as candidate:
        return to_dict(compare_bundles(reference, candidate, options))


def _build(given: argparse.Namespace, name: str, row: dict[str, Any]) -> None:
    engine = _engine(given, name)
    if "build" not in row or not engine.exists():
        source = given.bundle if name == "float" else _bundle(given, name)
        line = [*JANUS_EDGE, "build", str(source), str(engine), "--target", "ort-cpu", "--force"]
        row["build"] = run(line)
        row["engine_bytes"] = folder_bytes(engine)


def _bench(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """Milliseconds of a step, of its language model and of the VQ decoder; peak resident bytes."""
    told = given.folder / "bench.json"
    line = ["bench", str(_engine(given, name)), "--only", "image", "--repetitions", "1"]
    _run([*line, "--warm-up", "0", "--steps", str(given.steps), "--json", str(told)])
    image = json.loads(told.read_text("utf-8"))["modes"]["image"]
    return {
        "step_ms": 1000 * image["step"]["step"]["median"],
        "language_model_ms": 1000 * image["step"]["language_model"]["median"],
        "vq_decoder_ms": 1000 * image["stages"]["vq_decoder"]["median"],
        "peak_resident_bytes": image["memory"]["process"],
    }


def _bundle(given: argparse.Namespace, name: str) -> Path:
    return Path(given.folder, name.replace(" ", "-"))


def _engine(given: argparse.Namespace, name: str) -> Path:
    return Path(given.folder, name.replace(" ", "-") + "-ort-cpu")


def _run(line: list[str]) -> str:
    return subprocess.run(
        [*JANUS_EDGE, *line], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def _command() -> str:
    names = " ".join(Path(word).name for word in sys.argv[1:])
    return f"python benchmarks/quantization_cost.py {names}"


def _save(path: Path, report: dict[str, Any]) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
