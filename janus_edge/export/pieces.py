"""Running a graph layer by layer on ONNX Runtime, so that its weights are never all resident.

A graph whose nodes are named after ``layers.N`` falls into pieces at those numbers. Each piece is
a graph of its own over the same external data; running all of them in order computes what the
whole graph computes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from janus_edge.export.widen import widen

Values = dict[str, npt.NDArray[np.generic]]

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)[./]")


def run_in_pieces(
    path: Path, calls: Sequence[Mapping[str, npt.NDArray[np.generic]]], *, feed: Mapping[str, str]
) -> list[Values]:
    """Run the graph once per element of ``calls``; returns the outputs of each call.

    ``feed`` maps outputs of one call to inputs of the next (``present_key.0`` to ``past_key.0``),
    where they take the place of what the call itself holds.
    bfloat16 graphs are widened to float32 first, since ONNX Runtime has no bfloat16 kernels on
    CPUs; their inputs and outputs are float32 then.
    """
    model = onnx.load(str(path), load_external_data=False)
    outputs = [o.name for o in model.graph.output]
    values: list[Values] = [dict(call) for call in calls]
    for piece in _pieces(model):
        with widen(piece, path.parent) as runnable:
            session = _session(runnable, path.parent)
        for index, current in enumerate(values):
            if index:
                previous = values[index - 1]
                current.update(
                    {into: previous[out] for out, into in feed.items() if out in previous}
                )
            names = [o.name for o in piece.graph.output]
            inputs = {i.name: current[i.name] for i in piece.graph.input}
            current.update(zip(names, session.run(names, inputs), strict=True))
        del session
    return [{name: current[name] for name in outputs} for current in values]


def _session(model: onnx.ModelProto, folder: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    # The weights are used once or twice: rearranging them would only double their memory.
    options.add_session_config_entry("session.disable_prepacking", "1")
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _pieces(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    graph = model.graph
    infos = {v.name: v for v in (*graph.input, *graph.value_info, *graph.output)}
    initializers = {i.name: i for i in graph.initializer}
    final = {o.name for o in graph.output}
    groups = [list(nodes) for _, nodes in groupby(graph.node, key=_piece_key(graph.node))]
    needed_later: list[set[str]] = [set() for _ in groups]
    for index in range(len(groups) - 2, -1, -1):
        reads = {name for node in groups[index + 1] for name in node.input}
        needed_later[index] = needed_later[index + 1] | reads
    for index, nodes in enumerate(groups):
        made = {name for node in nodes for name in node.output}
        reads = {name for node in nodes for name in node.input if name} - made
        yield onnx.helper.make_model(
            onnx.helper.make_graph(
                nodes,
                f"{graph.name}.{index}",
                [infos[name] for name in sorted(reads - set(initializers))],
                [infos[name] for name in sorted(made & (final | needed_later[index]))],
                [initializers[name] for name in sorted(reads & set(initializers))],
            ),
            opset_imports=model.opset_import,
            ir_version=model.ir_version,
        )


def _piece_key(nodes: Sequence[onnx.NodeProto]) -> Callable[[onnx.NodeProto], int]:
    """Key for groupby: the layer number so far, and nodes behind the last layer on their own."""
    numbers = [_LAYER.search(node.name) for node in nodes]
    last = max((i for i, n in enumerate(numbers) if n), default=-1)
    current, keys = -1, {}
    for index, (node, number) in enumerate(zip(nodes, numbers, strict=True)):
        current = int(number[1]) if number else current
        keys[node.name] = current if index <= last else current + 1
    return lambda node: keys[node.name]
