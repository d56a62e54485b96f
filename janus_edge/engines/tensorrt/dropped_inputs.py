"""Inputs of ONNX nodes that a parsed network does not read.

TensorRT's parser may drop an input that it does not support, without a message: TensorRT-RTX 1.7.1
drops Attention's ``nonpad_kv_seqlen``. The network then builds and runs, but computes something else.
The parser names tensors of the network after the values of the graph, so the check needs no
arithmetic: from a node's outputs, walk back over the network's layers to the next tensors with a name
from the graph. An input of the node that is not among them was dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from janus_edge.engines.tensorrt.layers import makers_of
from janus_edge.engines.tensorrt.objects import ILayer, INetworkDefinition


def dropped_inputs(model: onnx.ModelProto, network: INetworkDefinition) -> tuple[str, ...]:
    """List the inputs that ``model`` computes and ``network`` does not read.

    For example 'Attention layers.0.self_attn/Attention: input 6 (lengths)'. Constants are skipped,
    because the parser may fold them. ``network`` must be unchanged since the parser made it.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    named = {value.name for value in graph.input} - constants
    named |= {name for node in graph.node for name in node.output if name}
    makers = makers_of(network)
    found = []
    for node in graph.node:
        wanted = {name: i for i, name in enumerate(node.input) if name in named}
        outputs = [name for name in node.output if name in makers]
        if not wanted or not outputs:  # unread, or the input under another name
            continue
        reached = {name for output in outputs for name in _sources(makers, output, named)}
        found += [
            f"{node.op_type} {node.name}: input {index} ({name})"
            for name, index in wanted.items()
            if name not in reached
        ]
    return tuple(found)


def _sources(makers: dict[str, ILayer], tensor: str, named: set[str]) -> Iterator[str]:
    """The nearest names of the graph that ``tensor`` is computed from."""
    waiting, seen = [tensor], {tensor}
    while waiting:
        layer = makers.get(waiting.pop())
        for name in _inputs(layer) if layer is not None else ():
            if name in seen:
                continue
            seen.add(name)
            if name in named:
                yield name
            else:
                waiting.append(name)


def _inputs(layer: ILayer) -> Iterator[str]:
    for index in range(layer.num_inputs):
        tensor = layer.get_input(index)
        if tensor is not None:
            yield tensor.name
