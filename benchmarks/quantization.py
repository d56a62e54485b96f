"""Every precision of one bundle side by side: size, divergence from float, and task scores.

    python benchmarks/quantization.py work/miniature work/calibration.npz --folder work/quantised \
        --guidance 3 --seeds 5 --prompts 20 --output benchmarks/results/quantization-miniature.json

Each variant is quantised, compared with its float parent (`janus-edge parity`) and evaluated with
the same prompts, noise, questions and scenes; the differences from float are those of pairs. What is
in the output already is not done again, seed by seed, so that the run can be stopped and more seeds
can be added to some variants; --prompts, --questions and --guidance must stay. ``--only`` takes some variants, ``--no-evaluation`` leaves the scores out.
``--graphs NAME=FOLDER`` adds a variant whose graphs another library quantised: FOLDER/GRAPH.onnx and
FOLDER/GRAPH.weights replace those of the float bundle (``benchmarks/peers`` makes such folders). A
variant of theirs that cannot be opened stays in the table with the reason. ``--bundle NAME=BUNDLE``
adds a bundle that exists already, such as one exported in fp16. Weights in nvfp4 are measured
as the floats that they represent (``dequantised.py``).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dequantised import runnable
from machine import describe
from quantization_scores import asked_of, score, summary

from janus_edge.atomic_file import written_aside
from janus_edge.bundle import Bundle
from janus_edge.bundle_writer import BundleWriter
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.errors import InputError, JanusEdgeError
from janus_edge.graphs import Graph
from janus_edge.manifest import Derivation, GraphEntry
from janus_edge.recipe import Recipe, Rule, Scheme
from janus_edge.runtime.bundle_parity import compare_bundles
from janus_edge.runtime.measuring_options import MeasuringOptions
from janus_edge.runtime.pipeline import Janus
from janus_edge.schema import to_dict


@dataclass(frozen=True)
class Variant:
    """A recipe and what is changed in it."""

    recipe: str
    changes: Changes = field(default_factory=Changes)


@dataclass(frozen=True)
class Foreign:
    """Graphs that another library quantised."""

    folder: Path


@dataclass(frozen=True)
class Existing:
    """A bundle of the same model."""

    path: Path


#: Says that a graph holds integers, so that the runtime opens it as such; not how it was made.
_INTEGERS = Scheme("int8")

VARIANTS = {
    "int8": Variant("int8"),
    **{
        f"int8 {ranges}": Variant("int8", Changes(inputs=ranges))
        for ranges in ("maximum", "entropy", "mean_squared_error")
    },
    "int8 not smoothed": Variant("int8", Changes(scaling="none")),
    "fp8": Variant("fp8"),
    **{
        f"fp8 {ranges}": Variant("fp8", Changes(inputs=ranges))
        for ranges in ("maximum", "percentile")
    },
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
    "nvfp4-weight": Variant("nvfp4-weight"),
    **{
        f"int4-weight block 32 asymmetric {name}": Variant(
            "int4-weight", replace(change, block=32, symmetric=False, scaling="none")
        )
        for name, change in {"not scaled": Changes(), "GPTQ": Changes(gptq=True)}.items()
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a float bundle")
    parser.add_argument("calibration", type=Path, help="its calibration file, with --gram")
    parser.add_argument("--folder", type=Path, default=Path("work/quantised"))
    parser.add_argument("--mixed", type=Path, help="a recipe that `janus-edge sensitivity` wrote")
    parser.add_argument("--graphs", nargs="+", type=_foreign, default=[], metavar="NAME=FOLDER")
    parser.add_argument("--bundle", nargs="+", type=_existing, default=[], metavar="NAME=BUNDLE",
                        dest="bundles")  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", help="variants, of: " + ", ".join(["float", *VARIANTS])
    )
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=20, help="per category and seed")
    parser.add_argument("--questions", type=int, default=20, help="per kind and seed")
    parser.add_argument("--steps", type=int, help="codes of a prompt in parity; all if not given")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-evaluation", action="store_true")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    variants: dict[str, Variant | Foreign | Existing] = {
        **VARIANTS, **dict(given.graphs), **dict(given.bundles)
    }  # fmt: skip
    if given.mixed:
        variants["mixed"] = Variant(str(given.mixed))
    names = given.only or ["float", *variants]
    unknown = [name for name in names if name != "float" and name not in variants]
    if unknown:
        parser.error(f"unknown variant '{unknown[0]}'; known: float, {', '.join(variants)}")
    known = given.output and given.output.exists()
    found = json.loads(given.output.read_text())["variants"] if known else {}
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        row = found.setdefault(name, {})
        path = given.bundle if name == "float" else given.folder / name.replace(" ", "-")
        if isinstance(existing := variants.get(name), Existing):
            path = existing.path
        if name == "float":
            row["bytes"] = Bundle.open(path).total_bytes
        elif "parity" not in row:
            row.clear()
            row.update(_quantised(path, name, variants[name], given))
        _keep(given.output, found)
        if row.get("rounds") and asked_of(row["rounds"][0]) != _asked(given):
            parser.error(f"{name} was scored with other --guidance, --prompts or --questions")
        done = [one["seed"] for one in row.get("rounds", [])]
        missing = [seed for seed in range(given.seeds) if seed not in done]
        if missing and "failed" not in row and not given.no_evaluation:
            with Janus.load(runnable(path), threads=given.threads) as janus:
                for one in score(janus, missing, *_asked(given)):
                    row.setdefault("rounds", []).append(one)
                    _keep(given.output, found)
        told = {k: v for k, v in row.items() if k not in ("parity", "rounds", "recipe")}
        print(name, json.dumps(told), file=sys.stderr)
    if not given.output:
        print(json.dumps(found, indent=1))


def _asked(given: argparse.Namespace) -> tuple[float, int, int]:
    return given.guidance, given.prompts, given.questions


def _foreign(text: str) -> tuple[str, Foreign]:
    name, folder = _named(text)
    return name, Foreign(folder)


def _existing(text: str) -> tuple[str, Existing]:
    name, folder = _named(text)
    return name, Existing(folder)


def _named(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and Path(folder).is_dir()) or name in ("float", "mixed", *VARIANTS):
        raise argparse.ArgumentTypeError(f"{text!r}: give a new NAME, =, and a folder that exists")
    return name, Path(folder)


def _quantised(
    path: Path, name: str, variant: Variant | Foreign | Existing, given: argparse.Namespace
) -> dict[str, Any]:
    parent = Bundle.open(given.bundle)
    if isinstance(variant, Existing):
        sizes = {"bytes": Bundle.open(path).total_bytes, "parent_bytes": parent.total_bytes}
        return {**sizes, "parity": _parity(path, given)}
    if isinstance(variant, Variant):
        row = _ours(parent, path, variant, given.calibration)
        return {**row, "parity": _parity(path, given)}
    told = {"parent_bytes": parent.total_bytes, "graphs": _reports(variant.folder)}
    try:
        written = _foreign_bundle(parent, variant.folder, path, name, force=path.exists())
        return {**told, "bytes": written.total_bytes, "parity": _parity(path, given)}
    except JanusEdgeError as failure:
        message = str(failure).replace(f"{path.parent}/", "")  # no folders of this machine
        return {**told, "failed": message.replace(f"{variant.folder.parent}/", "")}


def _ours(parent: Bundle, target: Path, variant: Variant, calibration: Path) -> dict[str, Any]:
    started = time.monotonic()
    recipe = quantised_recipe(variant.recipe, parent.manifest.recipe.float_type, variant.changes)
    written, _ = quantise_bundle(parent, target, recipe, calibration, force=target.exists())
    return {
        "bytes": written.total_bytes, "parent_bytes": parent.total_bytes,
        "seconds_to_quantise": round(time.monotonic() - started, 1), "recipe": to_dict(recipe),
    }  # fmt: skip


def _parity(path: Path, given: argparse.Namespace) -> Any:
    options, threads = MeasuringOptions(steps=given.steps), given.threads
    with (
        Janus.load(given.bundle, threads=threads) as reference,
        Janus.load(runnable(path), threads=threads) as candidate,
    ):
        return to_dict(compare_bundles(reference, candidate, options))


def _foreign_bundle(
    parent: Bundle, folder: Path, target: Path, name: str, *, force: bool
) -> Bundle:
    """``parent`` with those of its graphs replaced that are in ``folder``, written to ``target``.

    NAME.onnx and its weights NAME.weights replace the graph NAME. The manifest's recipe is called
    ``name`` and marks these graphs as quantised. Raises InputError where ``folder`` has no graph.
    """
    given = [graph for graph in Graph if (folder / f"{graph.value}.onnx").is_file()]
    if not given:
        raise InputError(f"{folder}: has no graph ({', '.join(g.value for g in Graph)}).onnx")
    rules = tuple(Rule(f"{graph.value}/*", _INTEGERS) for graph in given)
    entries = dict(parent.manifest.graphs)
    with BundleWriter(target, force=force) as writer:
        (writer.folder / "graphs").mkdir()
        for graph in given:
            entries[graph.value] = _taken(folder, graph, entries[graph.value], writer.folder)
        kept = [entries[graph.value] for graph in Graph if graph not in given]
        names = [file for entry in kept for file in (entry.file, *entry.weights)]
        for file in (*names, parent.manifest.tokenizer, parent.manifest.text_embeddings.file):
            shutil.copyfile(parent.file(file), writer.folder / file)
        manifest = replace(
            parent.manifest,
            recipe=Recipe(name, parent.manifest.recipe.float_type, rules),
            graphs=entries,
            parity={},
            files={},
            derivation=Derivation(parent.digest, None),
        )
        return writer.seal(manifest)


def _reports(folder: Path) -> dict[str, Any]:
    """What ``quantizers.py`` told of each graph, with its failures; empty for other folders."""
    paths = [(g.value, folder / f"{g.value}.json") for g in Graph]
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths if path.is_file()}


def _taken(folder: Path, graph: Graph, entry: GraphEntry, target: Path) -> GraphEntry:
    names = [f"{graph.value}.onnx", f"{graph.value}.weights"]
    present = [f"graphs/{name}" for name in names if (folder / name).is_file()]
    for file in present:
        shutil.copyfile(folder / Path(file).name, target / file)
    return replace(entry, file=present[0], weights=tuple(present[1:]))


def _keep(path: Path | None, variants: dict[str, Any]) -> None:
    """Bring the summaries up to date and write everything, if there is a place for it."""
    reference = variants.get("float", {}).get("rounds", [])
    for row in variants.values():
        if "rounds" in row:
            row.update(summary(row["rounds"], reference))
    if path:
        _save(path, variants)


def _save(path: Path, variants: dict[str, Any]) -> None:
    report = {
        "command": " ".join(  # without the folders of this machine
            ["python", "benchmarks/quantization.py", *(Path(word).name for word in sys.argv[1:])]
        ),
        "machine": describe(),
        "variants": variants,
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
