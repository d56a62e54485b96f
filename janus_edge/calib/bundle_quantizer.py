"""From a float bundle to a quantised one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx

from janus_edge.bundle import Bundle, files_below, sha256
from janus_edge.bundle_writer import BundleWriter
from janus_edge.calib.cache_quantizer import quantise_cache
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.quantizer import GraphQuantizer, GraphReport
from janus_edge.errors import ExportError, InputError
from janus_edge.graphs import Graph, signature
from janus_edge.manifest import Derivation, GraphEntry
from janus_edge.progress import Task, silent
from janus_edge.recipe import Recipe


def quantise_bundle(
    parent: Bundle,
    target: str | Path,
    recipe: Recipe,
    calibration: str | Path | None = None,
    *,
    force: bool = False,
    task: Task = silent,
) -> tuple[Bundle, list[GraphReport]]:
    """Write ``parent`` in the precision of ``recipe`` to ``target``; all of it or nothing.

    ``calibration`` is the file of ``janus-edge calibrate``; weights alone need none, unless the
    recipe scales inputs or uses GPTQ, or quantises the KV cache. Peak memory is that of a few copies of the widest weights
    that read one input. Raises InputError for a recipe that is not of the parent's float type, that
    matches no node, or that asks for what was not recorded, and for another bundle's calibration.
    """
    statistics = checked_calibration(parent, recipe, calibration)
    if recipe.float_type != parent.manifest.recipe.float_type:
        raise InputError(
            f"{parent.path}: its graphs are {parent.manifest.recipe.float_type}, the recipe's are "
            f"{recipe.float_type}"
        )
    reports = []
    with BundleWriter(target, force=force) as writer:
        (writer.folder / "graphs").mkdir()
        graphs = {}
        for graph in Graph:
            source = parent.graph(graph)
            with task(graph.value) as row:
                work = GraphQuantizer(graph.value, source, recipe, statistics)
                path = writer.folder / "graphs" / source.name
                entry = parent.manifest.graphs[graph.value]
                cached = statistics if _caches(graph, recipe) else None
                if not work.touched and not cached:
                    row.state("copy")
                    graphs[graph.value] = _copied(parent, entry, writer.folder)
                    continue
                row.state("quantise")
                row.begin(work.weight_bytes)
                reports.append(work.write(path, row.advance))
                if cached:
                    quantise_cache(path, cached)
                    ports = signature(graph, parent.manifest.config, recipe.cache)
                    entry = replace(entry, inputs=ports.inputs, outputs=ports.outputs)
                _check(path)
                weights = path.with_suffix(".weights")
                own = (f"graphs/{weights.name}",) if weights.exists() else ()
                graphs[graph.value] = replace(entry, file=f"graphs/{path.name}", weights=own)
        if not reports:
            patterns = ", ".join(rule.pattern for rule in recipe.rules)
            raise InputError(f"recipe '{recipe.name}': its rules ({patterns}) match no node")
        for name in (parent.manifest.tokenizer, parent.manifest.text_embeddings.file):
            shutil.copyfile(parent.file(name), writer.folder / name)
        manifest = replace(
            parent.manifest,
            recipe=recipe,
            graphs=graphs,
            parity={},
            files={},
            derivation=Derivation(
                parent.digest, sha256(Path(calibration)) if calibration else None
            ),
        )
        with task("hashes") as row:
            row.begin(sum(p.stat().st_size for p in files_below(writer.folder)))
            return writer.seal(manifest, row.advance), reports


def checked_calibration(
    parent: Bundle, recipe: Recipe, calibration: str | Path | None
) -> Calibration | None:
    """The calibration file, if it is ``parent``'s and ``parent`` can be quantised.

    Raises InputError for a bundle that is quantised already, for another bundle's file, and for
    none where the recipe needs one.
    """
    if parent.manifest.recipe.quantised:
        raise InputError(
            f"{parent.path}: is quantised already ({parent.manifest.recipe.name}); quantise the "
            "float bundle that it was made from"
        )
    if calibration:
        statistics = Calibration.load(calibration)
        statistics.check_bundle(parent.digest)
        if not statistics.complete:
            raise InputError(
                f"{calibration}: the recording was interrupted; run the same `janus-edge calibrate` "
                "again, which goes on where it was"
            )
        return statistics
    recorded = any(s.inputs or s.gptq or s.scaling != "none" for s in recipe.schemes)
    if recipe.cache != "float" or recorded:
        raise InputError(
            f"recipe '{recipe.name}' needs to know what its layers read and cache: record it with "
            f"`janus-edge calibrate {parent.path} FILE.npz` and pass --calibration FILE.npz"
        )
    return None


def _caches(graph: Graph, recipe: Recipe) -> bool:
    return graph is Graph.LANGUAGE_MODEL and recipe.cache != "float"


def _copied(parent: Bundle, entry: GraphEntry, folder: Path) -> GraphEntry:
    for name in (entry.file, *entry.weights):
        shutil.copyfile(parent.file(name), folder / name)
    return entry


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as invalid:
        raise ExportError(f"{path.name}: not a valid ONNX model: {invalid}") from invalid
