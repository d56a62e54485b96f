"""Write a bundle's nvfp4 weights out as floats, for measuring: ONNX Runtime has no kernel for them.

Each weight is what its DequantizeLinear nodes compute by ONNX's definition from the bundle's own
files, so the numbers are those of a device that runs them.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from janus_edge.bundle import Bundle
from janus_edge.bundle_writer import BundleWriter
from janus_edge.recipe import Rule, Scheme


def runnable(path: Path) -> Path:
    """Return ``path``, or a bundle beside it that the CPU can run if ``path`` has nvfp4 weights."""
    bundle = Bundle.open(path)
    if "nvfp4" not in bundle.manifest.recipe.number_types:
        return path
    manifest, target = bundle.manifest, path.with_name(f"{path.name}-dequantised")
    with BundleWriter(target, force=target.exists()) as writer:
        (writer.folder / "graphs").mkdir()
        entries = {}
        for name, entry in manifest.graphs.items():
            model = onnx.load(str(bundle.path / entry.file))
            _fold(model.graph)
            own = f"{name}.weights"
            onnx.save(
                model, str(writer.folder / entry.file), save_as_external_data=True, location=own
            )
            present = (writer.folder / "graphs" / own).exists()
            entries[name] = replace(entry, weights=(f"graphs/{own}",) if present else ())
        for file in (manifest.tokenizer, manifest.text_embeddings.file):
            shutil.copyfile(bundle.file(file), writer.folder / file)
        # int8 stands for "holds Q/DQ nodes", as for a bundle that another library quantised
        rules = tuple(Rule(r.pattern, r.scheme and Scheme("int8")) for r in manifest.recipe.rules)
        recipe = replace(manifest.recipe, rules=rules)
        writer.seal(replace(manifest, recipe=recipe, graphs=entries, files={}, parity={}))
    return target


def _fold(graph: onnx.GraphProto) -> None:
    """Replace DequantizeLinear nodes of 4-bit and 8-bit float constants with their results."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in [*graph.node]:
        if node.op_type != "DequantizeLinear" or not {*node.input} <= constants.keys():
            continue
        values, scales = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
        if values.dtype.name not in ("float4_e2m1fn", "float8_e4m3fn"):
            continue
        made = numpy_helper.from_array(_dequantised(node, values, scales), node.output[0])
        graph.node.remove(node)
        for name in node.input:
            graph.initializer.remove(constants.pop(name))
        graph.initializer.append(made)
        constants[made.name] = made


def _dequantised(node: onnx.NodeProto, values: NDArray, scales: NDArray) -> NDArray[np.floating]:
    attributes = {a.name: a.i for a in node.attribute}
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    if block:
        scales = np.repeat(scales, block, axis).take(np.arange(values.shape[axis]), axis)
    elif scales.ndim:
        scales = np.expand_dims(scales, [i for i in range(values.ndim) if i != axis])
    return np.asarray(values.astype(np.float32) * scales.astype(np.float32), scales.dtype)
