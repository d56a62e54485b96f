"""What recipes lose in right pictures against float, each until its margin is shown or refuted.

    python benchmarks/recipe_losses.py work/miniature work/losses int8-weight=work/int8-weight:0.5 \
        int8=work/int8:1 int4-weight=work/int4-weight:2 --pictures 20000 --output losses.json

Each argument after the folder is NAME=BUNDLE:MARGIN, the margin in points of the mean over the
categories. All bundles paint the prompts of `janus-edge evaluate` with the same noise. After each
planned look (`evaluation/sequential.py`) the recipes that are settled stop; float paints no more
than the last one needs. Outcomes are kept in the folder, so that the run can be stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe

from janus_edge.atomic_file import written_aside
from janus_edge.evaluation.comparison import Comparison
from janus_edge.evaluation.options import Options
from janus_edge.evaluation.painting import paint
from janus_edge.evaluation.paired import Pairing
from janus_edge.evaluation.record import Record
from janus_edge.evaluation.sequential import SequentialTest
from janus_edge.runtime.pipeline import Janus
from janus_edge.schema import to_dict
from janus_edge.shapes.prompts import CATEGORIES

Open = Callable[[Path], AbstractContextManager[Janus]]


@dataclass(frozen=True)
class Variant:
    """A bundle, and the loss in question as a share."""

    bundle: Path
    margin: float


def compare(
    reference: Path, variants: Mapping[str, Variant], folder: Path, options: Options, open_: Open,
    found: Callable[[str, Comparison], None],
) -> None:  # fmt: skip
    """Paint look by look with the reference and all variants that are open; reports each verdict."""
    planned, left = options.prompts, dict(variants)
    for look in SequentialTest(planned, 1.0, len(CATEGORIES)).looks():
        if not left:
            break
        so_far = _options(options, look)
        with open_(reference) as janus:
            record = Record.open(folder / "float.jsonl", *_heading(janus))
            paint(janus, so_far, record=record)
        for name, variant in list(left.items()):
            pairing = Pairing(record, variant.margin, planned)
            with open_(variant.bundle) as janus:
                own = Record.open(folder / f"{name}.jsonl", *_heading(janus))
                paint(janus, so_far, record=own, pairing=pairing)
            found(name, pairing.comparison())
            if pairing.settled:
                del left[name]


def _options(options: Options, prompts: int) -> Options:
    """The first rounds of an evaluation: the same prompts and seeds."""
    return Options(
        options.guidance_scales, prompts, seed=options.seed, parts=("painting",),
        parallel=options.parallel,
    )  # fmt: skip


def _heading(janus: Janus) -> tuple[str, str]:
    return janus.bundle.digest, janus.bundle.manifest.recipe.name


def _variant(text: str) -> tuple[str, Variant]:
    name, _, rest = text.partition("=")
    path, _, margin = rest.rpartition(":")
    try:
        return name, Variant(Path(path), float(margin) / 100)
    except ValueError as invalid:
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=BUNDLE:MARGIN") from invalid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path, help="the float bundle or engine")
    parser.add_argument("folder", type=Path, help="for the outcomes")
    parser.add_argument("variants", nargs="+", type=_variant, metavar="NAME=BUNDLE:MARGIN")
    parser.add_argument("--pictures", type=int, default=20_000, help="per recipe, at most")
    parser.add_argument("--guidance", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rounds = -(-given.pictures // len(CATEGORIES))
    options = Options((given.guidance,), rounds, seed=given.seed, parallel=given.parallel)
    rows: dict[str, Any] = {}

    def found(name: str, comparison: Comparison) -> None:
        rows[name] = to_dict(comparison)
        report = {"machine": describe(), "options": to_dict(options), "recipes": rows}
        with written_aside(given.output) as aside:
            aside.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        overall = comparison.overall
        points = ", ".join(f"{100 * v:+.2f}" for v in (overall.mean, overall.low, overall.high))
        print(
            f"{name}: {comparison.verdict} ({points} points, {overall.rounds} rounds)", flush=True
        )

    compare(
        given.reference, dict(given.variants), given.folder, options,
        lambda path: Janus.load(path, threads=given.threads), found,
    )  # fmt: skip


if __name__ == "__main__":
    main()
