"""Every precision of one bundle side by side: size, divergence from float, and task scores.

    python benchmarks/quantization.py work/miniature work/calibration.npz --folder work/quantised \
        --guidance 3 --seeds 5 --prompts 20 --output benchmarks/results/quantization-miniature.json

Each variant is quantised, compared with its float parent (`janus-edge parity`) and evaluated with
the same prompts, noise, questions and scenes. What is in the output already is not done again, so
that the run can be stopped. ``--only`` takes some variants, ``--no-evaluation`` leaves the scores out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from machine import describe

from janus_edge.atomic_file import written_aside
from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.evaluation import Options, Painting, Report, evaluate
from janus_edge.evaluation.report import Understanding
from janus_edge.runtime.bundle_parity import compare_bundles
from janus_edge.runtime.measuring_options import MeasuringOptions
from janus_edge.runtime.pipeline import Janus
from janus_edge.schema import to_dict


@dataclass(frozen=True)
class Variant:
    """A recipe and what is changed in it."""

    recipe: str
    changes: Changes = field(default_factory=Changes)


VARIANTS = {
    "int8": Variant("int8"),
    **{
        f"int8 {ranges}": Variant("int8", Changes(inputs=ranges))
        for ranges in ("maximum", "entropy", "mean_squared_error")
    },
    "int8 not smoothed": Variant("int8", Changes(scaling="none")),
    "int8-weight": Variant("int8-weight"),
    "int8-weight block 32": Variant("int8-weight", Changes(block=32)),
    **{
        f"int4-weight block {block}{name}": Variant("int4-weight", replace(change, block=block))
        for block in (32, 64, 128)
        for name, change in {
            "": Changes(),
            " not scaled": Changes(scaling="none"),
            " asymmetric": Changes(symmetric=False),
            " GPTQ": Changes(scaling="none", gptq=True),
            " AWQ and GPTQ": Changes(gptq=True),
        }.items()
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a float bundle")
    parser.add_argument("calibration", type=Path, help="its calibration file, with --gram")
    parser.add_argument("--folder", type=Path, default=Path("work/quantised"))
    parser.add_argument("--mixed", type=Path, help="a recipe that `janus-edge sensitivity` wrote")
    parser.add_argument(
        "--only", nargs="+", help="variants, of: " + ", ".join(["float", *VARIANTS])
    )
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=20, help="per category and seed")
    parser.add_argument("--questions", type=int, default=20, help="per kind and seed")
    parser.add_argument("--no-evaluation", action="store_true")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    variants = dict(VARIANTS)
    if given.mixed:
        variants["mixed"] = Variant(str(given.mixed))
    names = given.only or ["float", *variants]
    known = given.output and given.output.exists()
    found = json.loads(given.output.read_text())["variants"] if known else {}
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        row = found.setdefault(name, {})
        path = given.bundle if name == "float" else given.folder / name.replace(" ", "-")
        if name != "float" and "parity" not in row:
            row.update(_quantised(given.bundle, path, variants[name], given.calibration))
        if "seeds" not in row and not given.no_evaluation:
            row.update(_scores(path, given))
        if given.output:
            _save(given.output, found)
        print(name, json.dumps({k: v for k, v in row.items() if k != "parity"}), file=sys.stderr)
    if not given.output:
        print(json.dumps(found, indent=1))


def _quantised(parent: Path, target: Path, variant: Variant, calibration: Path) -> dict[str, Any]:
    started = time.monotonic()
    bundle = Bundle.open(parent)
    recipe = quantised_recipe(variant.recipe, bundle.manifest.recipe.float_type, variant.changes)
    written, _ = quantise_bundle(bundle, target, recipe, calibration, force=target.exists())
    seconds = time.monotonic() - started
    with Janus.load(parent) as reference, Janus.load(target) as candidate:
        parity = compare_bundles(reference, candidate, MeasuringOptions())
    return {
        "bytes": written.total_bytes, "parent_bytes": bundle.total_bytes,
        "seconds_to_quantise": round(seconds, 1), "recipe": to_dict(recipe),
        "parity": to_dict(parity),
    }  # fmt: skip


def _scores(path: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Task scores over all seeds together."""
    reports: list[Report] = []
    with Janus.load(path) as janus:
        for seed in range(given.seeds):
            options = Options((given.guidance,), given.prompts, given.questions, 20, seed)
            reports.append(evaluate(janus, options))
    painting = Painting.of(p for r in reports if r.painting for p in r.painting.pictures).best
    rounds = []
    for report in reports:
        assert report.understanding
        kinds = len(report.understanding.kinds)
        answers = report.understanding.answers
        rounds += [answers[i : i + kinds] for i in range(0, len(answers), kinds)]
    return {
        "seeds": given.seeds,
        "guidance_scale": given.guidance,
        "painting": {
            "overall": to_dict(painting.overall),
            **{n: to_dict(c.score) for n, c in painting.categories.items()},
        },
        "understanding": to_dict(Understanding.of(rounds).overall),
        "psnr_db": sum(r.reconstruction.mean_psnr_db for r in reports if r.reconstruction)
        / len(reports),
    }


def _save(path: Path, variants: dict[str, Any]) -> None:
    report = {
        "command": " ".join(["python", *sys.argv]),
        "machine": describe(),
        "variants": variants,
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
