"""Graphs as ONNX text with made-up weights, before and after a pass; and the language model driven."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper

from janus_edge.compare import difference
from janus_edge.config import LanguageConfig
from janus_edge.engines.lowering.passes import Outcome, Pass, load, lower, save
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.session import OrtSession

HEADER = '<ir_version: 11, opset_import: ["" : 24, "com.microsoft" : 1]>\n'

Rewrite = Callable[[ir.Model], Outcome]
Arrays = dict[str, NDArray[Any]]


def parse(text: str, path: Path) -> Path:
    """Save the graph ``text`` with its shapes inferred; what it declares and no node makes is a weight.

    Weights are random; those named ``*_zero`` are 0, ``*_scale`` and ``norm`` positive.
    """
    model = onnx.parser.parse_model(HEADER + text)
    fill_weights(model.graph)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def fill_weights(graph: onnx.GraphProto) -> None:
    """Turn every value that ``graph`` declares and no node makes into a weight."""
    rng = np.random.default_rng(0)
    made = {i.name for i in (*graph.input, *graph.initializer)}
    made.update(o for node in graph.node for o in node.output)
    graph.initializer.extend(_weight(i, rng) for i in graph.value_info if i.name not in made)
    del graph.value_info[:]


def _weight(info: onnx.ValueInfoProto, rng: np.random.Generator) -> TensorProto:
    kind = info.type.tensor_type.elem_type
    shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
    if kind in (TensorProto.INT8, TensorProto.INT4):
        most = 127 if kind == TensorProto.INT8 else 7
        values = rng.integers(-most, most + 1, shape) * (not info.name.endswith("_zero"))
        return onnx.helper.make_tensor(info.name, kind, shape, values.flatten())
    floats = rng.normal(size=shape) * 0.3
    if info.name.endswith("_scale") or info.name == "norm":
        floats = 0.01 + np.abs(floats)
    return onnx.numpy_helper.from_array(
        floats.astype(helper.tensor_dtype_to_np_dtype(kind)), info.name
    )


def lowered(
    source: Path, *rewrites: Rewrite, folder: Path | None = None
) -> tuple[ir.Model, Path, Outcome]:
    """The graph after ``rewrites`` that change something, saved in ``folder`` and checked by ONNX.

    Without a folder it is saved beside ``source``. The outcome is the last rewrite's.
    """
    model, path = load(source), (folder or source.parent) / f"lowered_{source.name}"
    ports = [str(v) for v in (*model.graph.inputs, *model.graph.outputs)]
    steps = [Pass(f"{i}", rewrite) for i, rewrite in enumerate(rewrites)]
    outcomes = lower(model, steps)
    assert [str(v) for v in (*model.graph.inputs, *model.graph.outputs)] == ports
    save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    return load(path), path, outcomes[steps[-1].name]


def ops(graph: ir.Graph) -> list[str]:
    """The operators of ``graph`` in order, without those of graphs inside."""
    return [node.op_type for node in graph]


def named_node(model: ir.Model, name: str) -> ir.Node:
    (found,) = [node for node in model.graph if node.name == name]
    return found


def run(path: Path, feeds: Arrays, outputs: Mapping[str, Sequence[int]]) -> Arrays:
    """Float outputs of these shapes, computed as the runtime does."""
    made = {name: np.zeros(shape, np.float32) for name, shape in outputs.items()}
    OrtSession(path, threads=1, quantised=True).bind(feeds, made)()
    return made


@dataclass(frozen=True, slots=True)
class Driven:
    """What the language model did: hidden states of all valid tokens [T, H], and its cache."""

    hidden: NDArray[np.float32]
    cache: KVCache

    def check_like(self, other: Driven, decibels: float) -> None:
        """Hidden states and the filled part of the cache are that near; what lies behind is equal."""
        assert np.array_equal(self.cache.lengths, other.cache.lengths)
        self._check(self.hidden, other.hidden, decibels)
        for found, expected in zip(self.cache.buffers, other.cache.buffers, strict=True):
            np.testing.assert_array_equal(found[:, :, _UNTOUCHED:], expected[:, :, _UNTOUCHED:])
            for row, length in enumerate(self.cache.lengths):
                self._check(found[row, :, :length], expected[row, :, :length], decibels)

    @staticmethod
    def _check(found: NDArray[Any], expected: NDArray[Any], decibels: float) -> None:
        seen = difference(found, expected, "float32")
        assert seen.snr_db is not None
        assert seen.snr_db >= decibels, seen


#: New tokens of up to four rows in each call: a prompt, a chunk behind it, single tokens; a second
#: chunk writes over the pads of the first.
_CALLS = ((9, 2, 5, 7), (4, 6, 1, 3), (1, 1, 1, 1), (2, 1, 2, 2), (1, 1, 1, 1))
_UNTOUCHED = 26  # no call writes behind it


def drive(path: Path, config: LanguageConfig, rows: int, *, quantised: bool = False) -> Driven:
    """Run prompts, chunks and single tokens, with past and present in one buffer full of rubbish."""
    model = LanguageModel(OrtSession(path, threads=1, quantised=quantised))
    cache = KVCache(config, rows, 32, np.float32)
    rng, hidden = np.random.default_rng(4), []
    for buffer in cache.buffers:
        buffer[:] = rng.normal(size=buffer.shape)
    for counts in (np.array(call[:rows]) for call in _CALLS):
        step = model.plan(cache, int(counts.max()))
        step.inputs_embeds[:] = rng.normal(size=step.inputs_embeds.shape)
        step.run()
        hidden += [step.hidden_states[row, :count] for row, count in enumerate(counts)]
        cache.lengths += counts
    return Driven(np.concatenate(hidden), cache)
