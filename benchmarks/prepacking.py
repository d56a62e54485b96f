"""What `janus-edge build --target ort-cpu --prepack` changes: start, memory, step, and size on disk.

    python benchmarks/prepacking.py work/janus-1b-int4 --folder work/prepacking \
        --output benchmarks/results/prepacking-1b.json

Builds the engine both ways and measures them with `janus-edge bench` in processes of their own,
``--rounds`` times in turn. Files are in the page cache when a round begins: both were read before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from export_memory import folder_bytes, run
from machine import describe

from janus_edge.atomic_file import written_aside

JANUS_EDGE = [sys.executable, "-m", "janus_edge"]
WAYS: dict[str, list[str]] = {"plain": [], "prepacked": ["--prepack"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("work/prepacking"))
    parser.add_argument("--steps", type=int, default=40, help="codes that a round draws")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    engines: dict[str, dict[str, Any]] = {}
    for way, options in WAYS.items():
        line = ["build", str(given.bundle), str(given.folder / way), "--target", "ort-cpu"]
        built = run([*JANUS_EDGE, *line, *options, "--force", "--no-cache"])
        engines[way] = {"build": built, "bytes": folder_bytes(given.folder / way), "rounds": []}
    for _ in range(1 + given.rounds):
        for way, engine in engines.items():
            engine["rounds"].append(measured(given.folder / way, given.steps))
    for engine in engines.values():
        del engine["rounds"][0]  # reads the files
        for what in engine["rounds"][0]:
            engine[what] = median(one[what] for one in engine["rounds"])
    both = [engines[way]["rounds"] for way in WAYS]
    ratios = {
        what: median(one[what] / other[what] for one, other in zip(*both, strict=True))
        for what in both[0][0]
    }
    words = " ".join(Path(word).name for word in sys.argv[1:])
    report = {
        "command": f"python benchmarks/prepacking.py {words}",
        "machine": describe(),
        "engines": engines,
        "plain_over_prepacked": ratios,
    }
    with written_aside(given.output) as aside:
        aside.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(ratios, indent=1))


def measured(engine: Path, steps: int) -> dict[str, float]:
    """Seconds to open and to the first code, of a step and of a VQ decode; the most memory in bytes."""
    told = engine.with_suffix(".json")
    line = ["bench", str(engine), "--only", "image", "--repetitions", "1", "--warm-up", "0"]
    subprocess.run(
        [*JANUS_EDGE, *line, "--steps", str(steps), "--json", str(told)],
        stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    image = json.loads(told.read_text("utf-8"))["modes"]["image"]
    return {
        "language_model_open_seconds": image["start"]["graphs"]["language_model"],
        "first_code_seconds": image["start"]["first"],
        "step_seconds": image["step"]["step"]["median"],
        "vq_decoder_seconds": image["stages"]["vq_decoder"]["median"],
        "peak_resident_bytes": image["memory"]["process"],
    }


if __name__ == "__main__":
    main()
