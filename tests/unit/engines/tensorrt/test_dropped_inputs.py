"""An input that NVIDIA's parser drops is found and stops a build."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from janus_edge.bundle import Bundle
from janus_edge.engines.tensorrt.api import load
from janus_edge.engines.tensorrt.dropped_inputs import dropped_inputs
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt.network import parse_graph
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph
from tests.unit.engines.tensorrt.parsed_networks import parse_text

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

ATTENTION = """
attention (float16[2,4,1,16] q, float16[2,4,8,16] k, float16[2,4,8,16] v, int64[2] lengths,
    bool[2,1,1,8] mask) => (float16[2,4,1,16] y)
{ [a] y = Attention %s }
"""


def test_lengths_are_dropped() -> None:
    """The network of TensorRT-RTX 1.7 does not read attention's seventh input."""
    parsed = parse_text(ATTENTION % "<is_causal = 1> (q, k, v, , , , lengths)")
    assert dropped_inputs(parsed.model, parsed.network) == ("Attention a: input 6 (lengths)",)


def test_a_mask_is_read() -> None:
    parsed = parse_text(ATTENTION % "(q, k, v, mask)")
    assert dropped_inputs(parsed.model, parsed.network) == ()


def test_values_in_between_do_not_count() -> None:
    """A node must read its own input, not a value computed from the same source."""
    parsed = parse_text(
        "g (float[2,4] x, float[2,4] z) => (float[2,4] y) { [a] h = Add (x, z) \n [b] y = Mul (h, z) }"
    )
    model = onnx.ModelProto.FromString(parsed.model.SerializeToString())
    assert dropped_inputs(model, parsed.network) == ()
    model.graph.node[1].input[1] = "x"  # as if the graph had said so
    assert dropped_inputs(model, parsed.network) == ("Mul b: input 1 (x)",)


@pytest.mark.parametrize("graph", Graph)
def test_canonical_graphs(tiny_bundle: Path, graph: Graph) -> None:
    """Of a bundle's graphs only the language model is refused, by node and input; no false alarm."""
    bundle = Bundle.open(tiny_bundle)
    config = bundle.manifest.config
    profile = parse_profile("rows=2,prefill=16,capacity=32", config)

    def parse() -> None:
        path = bundle.graph(graph)
        parse_graph(load("tensorrt-rtx"), path, graph, config, profile, Messages())

    if graph is not Graph.LANGUAGE_MODEL:
        parse()
        return
    with pytest.raises(
        EngineError,
        match=r"language_model.onnx: TensorRT-RTX .* drops Attention layers.0.self_attn/Attention: "
        r"input 6 \(lengths\) and 1 more, so the engine would compute something else; build",
    ):
        parse()
