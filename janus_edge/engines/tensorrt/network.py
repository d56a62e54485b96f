"""From a graph's file to a parsed network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from janus_edge.config import JanusConfig
from janus_edge.engines.tensorrt.api import TensorRT, new_builder, new_network, new_parser
from janus_edge.engines.tensorrt.attention import remove_unit_products, share_write_positions
from janus_edge.engines.tensorrt.dropped_inputs import dropped_inputs
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt.objects import Builder, INetworkDefinition, OnnxParser
from janus_edge.engines.tensorrt.profiles import Profile, fixed_sizes
from janus_edge.engines.tensorrt.type_changes import changed_types, quantizers_without_zero_point
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph, Signature, signature


@dataclass(frozen=True, slots=True)
class ParsedGraph:
    """A network, and the objects that must live until it is built.

    ``weight_bytes`` is the size of the graph's constants. ``notes`` say where the network's types differ
    from the graph's.
    """

    network: INetworkDefinition
    weight_bytes: int
    notes: tuple[str, ...]
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
    ports: Signature | None = None,
) -> ParsedGraph:
    """Parse ``graph_file`` with the capacity of ``profile``.

    The parser maps external weights, so no copy is held here. Layers that the parser adds to the graph
    without need are removed (`attention.py`). Raises EngineError for a graph that cannot be parsed, whose
    inputs or outputs differ from ``ports`` (by default the graph table's), or with an input that the
    network does not read, since it would compute something else.
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
    _check_ports(graph_file, network, ports or signature(graph, config))
    dropped = dropped_inputs(model, network)
    if dropped:
        raise EngineError(
            f"{graph_file}: {tensorrt}'s parser drops {_first(dropped)}, so the engine would compute "
            "something else; build with this version of janus-edge's own passes, or for ort-cuda"
        )
    notes = (*quantizers_without_zero_point(model), *changed_types(model, network))
    _change(tensorrt, model, network)
    return ParsedGraph(network, weight_bytes, notes, builder, parser, logger)


def _first(places: tuple[str, ...]) -> str:
    """Return the first of ``places``, and how many more there are."""
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"


def _change(tensorrt: TensorRT, model: onnx.ModelProto, network: INetworkDefinition) -> None:
    """Remove needless layers that the parser adds to attention and cache updates."""
    scales = {
        onnx.helper.get_node_attr_value(node, "scale") if _has(node, "scale") else None
        for node in model.graph.node
        if node.op_type == "Attention"
    }
    if scales == {1.0}:
        names = {name for node in model.graph.node for name in node.output}
        names |= {value.name for value in model.graph.input}
        remove_unit_products(tensorrt, network, names)
    share_write_positions(tensorrt, network)


def _has(node: onnx.NodeProto, name: str) -> bool:
    return any(attribute.name == name for attribute in node.attribute)


def constant_bytes(model: onnx.ModelProto) -> int:
    """Total bytes of a graph's constants."""
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
