"""From a graph's file to a parsed network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from janus_edge.config import JanusConfig
from janus_edge.engines.tensorrt.api import (
    TensorRT,
    allow_decomposition,
    new_builder,
    new_network,
    new_parser,
)
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt.objects import Builder, INetworkDefinition, OnnxParser
from janus_edge.engines.tensorrt.profiles import Profile, fixed_sizes
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph, Signature, signature


@dataclass(frozen=True, slots=True)
class ParsedGraph:
    """A network, and the objects that must live until it is built.

    ``weight_bytes`` are those of the graph's constants.
    """

    network: INetworkDefinition
    weight_bytes: int
    builder: Builder
    parser: OnnxParser
    logger: Any


def parse_graph(
    tensorrt: TensorRT,
    graph_file: Path,
    graph: Graph,
    config: JanusConfig,
    profile: Profile,
    messages: Messages,
) -> ParsedGraph:
    """Parse ``graph_file`` with the capacity of ``profile``.

    Weights beside the file stay there: the parser maps them, and no copy is held here. Raises
    EngineError for a graph that cannot be parsed, or is not the one of the graph table.
    """
    try:
        model = onnx.load(str(graph_file), load_external_data=False)
    except Exception as invalid:  # onnx raises protobuf's own, which have no common base
        raise EngineError(
            f"{graph_file}: not an ONNX graph ({invalid}); check the bundle with `janus-edge verify`, "
            "or export it again"
        ) from invalid
    weight_bytes = constant_bytes(model)
    logger = messages.logger(tensorrt.module)
    builder = new_builder(tensorrt, logger)
    network = new_network(tensorrt, builder)
    parser = new_parser(tensorrt, network, logger)
    sizes = fixed_sizes(graph, profile)
    if sizes:  # before it is parsed: the cache's layer looks at its length when it is added
        fix_sizes(model, sizes)
        parsed = parser.parse(model.SerializeToString(), str(graph_file))
    else:
        parsed = parser.parse_from_file(str(graph_file))
    if not parsed:
        raise messages.parse_error(str(tensorrt), graph_file, parser)
    _check_ports(graph_file, network, signature(graph, config))
    allow_decomposition(tensorrt, network)
    return ParsedGraph(network, weight_bytes, builder, parser, logger)


def constant_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all constants of a graph."""
    constants = (ir.from_proto(tensor) for tensor in model.graph.initializer)
    return sum(constant.nbytes for constant in constants)


def fix_sizes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> None:
    """Give the symbols named in ``sizes`` these sizes, wherever the graph states shapes."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]


def _check_ports(graph_file: Path, network: INetworkDefinition, wanted: Signature) -> None:
    found = (
        [network.get_input(index).name for index in range(network.num_inputs)],
        [network.get_output(index).name for index in range(network.num_outputs)],
    )
    expected = ([port.name for port in wanted.inputs], [port.name for port in wanted.outputs])
    for kind, has, needs in zip(("inputs", "outputs"), found, expected, strict=True):
        if sorted(has) != sorted(needs):
            raise EngineError(
                f"{graph_file}: has the {kind} {', '.join(has)} instead of {', '.join(needs)}; "
                "export the bundle again"
            )
