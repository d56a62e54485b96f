"""Graphs as NVIDIA's own parser reads them, with TensorRT-RTX, which needs no GPU for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from janus_edge.config import JanusConfig
from janus_edge.engines.targets import target
from janus_edge.engines.tensorrt.api import TensorRT, load, new_builder, new_network, new_parser
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt_target import TensorRTTarget
from janus_edge.graphs import Graph

HEADER = '<ir_version: 11, opset_import: ["" : 24]>\n'


@dataclass
class Parsed:
    """A graph, the network parsed from it, and the objects that must live as long."""

    tensorrt: TensorRT
    model: onnx.ModelProto
    network: Any
    owners: tuple[Any, ...]

    def layers(self, kind: str) -> list[Any]:
        every = (self.network.get_layer(i) for i in range(self.network.num_layers))
        return [layer for layer in every if layer.type.name == kind]

    def makers(self) -> dict[str, Any]:
        """Map each tensor to the layer that makes it."""
        every = [self.network.get_layer(i) for i in range(self.network.num_layers)]
        return {one.get_output(i).name: one for one in every for i in range(one.num_outputs)}


def parse_text(text: str) -> Parsed:
    """Return the network of a graph written as ONNX text, as the parser leaves it."""
    model = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(HEADER + text))
    return parse_model(model)


def parse_model(model: onnx.ModelProto) -> Parsed:
    tensorrt, messages = load("tensorrt-rtx"), Messages()
    logger = messages.logger(tensorrt.module)
    builder = new_builder(tensorrt, logger)
    network = new_network(tensorrt, builder)
    parser = new_parser(tensorrt, network, logger)
    assert parser.parse(model.SerializeToString(), ""), messages.errors
    return Parsed(tensorrt, model, network, (logger, builder, parser))


@contextmanager
def lowered(
    source: Path, graph: Graph, config: JanusConfig, folder: Path, name: str = "tensorrt-rtx"
) -> Iterator[Path]:
    """Return the file that the target ``name`` parses for the graph in ``source``."""
    made = target(name, config)
    assert isinstance(made, TensorRTTarget)
    with made.lowered(source, graph, folder) as (path, _):
        yield path
