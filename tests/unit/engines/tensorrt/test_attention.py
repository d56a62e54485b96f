"""What is changed in a parsed network, and which attention a build uses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from janus_edge.bundle import Bundle
from janus_edge.engines.tensorrt import api, attention
from janus_edge.engines.tensorrt.api import load
from janus_edge.engines.tensorrt.build import build_plan
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt.network import parse_graph
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.errors import EngineError
from janus_edge.export.synthetic import DIMENSIONS
from janus_edge.graphs import Graph
from tests.unit.engines.tensorrt.fakes import fake_tensorrt
from tests.unit.engines.tensorrt.parsed_networks import HEADER, Parsed, lowered, parse_text

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

SCALED = """
g (float[2,4,1,16] x, float[2,4,8,16] k, float[2,4,8,16] v) => (float[2,4,1,16] y)
<float s = {0.25}> { q = Mul (x, s) \n [a] y = Attention <scale = 1.0> (q, k, v) }
"""


class Layer(SimpleNamespace):
    """A layer whose class can be changed, like those of the bindings."""


HEAD = """
text_head (float[N,64] hidden_states) => (float[N,64] logits)
<int64[4] heads = {0, 4, 1, 16}, int64[2] flat = {0, 64}>
{
    h = Reshape (hidden_states, heads)
    a = Attention (h, h, h)
    logits = Reshape (a, flat)
}
"""


def attention_of(parsed: Parsed) -> Any:
    (layer,) = parsed.layers("ATTENTION_INPUT")
    layer.__class__ = parsed.tensorrt.module.IAttentionInputLayer
    return layer.attention


def language_model(bundle: Path, tmp_path: Path) -> Parsed:
    """Return the network of a bundle's language model as a build receives it."""
    opened, tensorrt = Bundle.open(bundle), load("tensorrt-rtx")
    config = opened.manifest.config
    profile = parse_profile("rows=2,capacity=64", config)
    kind = Graph.LANGUAGE_MODEL
    with lowered(opened.graph(kind), kind, config, tmp_path) as path:
        graph = parse_graph(tensorrt, path, kind, config, profile, Messages())
    return Parsed(tensorrt, None, graph.network, (graph,))  # type: ignore[arg-type]


def test_products_with_one_are_removed() -> None:
    """The parser multiplies queries and keys by 1; once removed, attention reads what the graph says."""
    parsed = parse_text(SCALED)
    found = attention_of(parsed)
    assert {found.get_input(0).name, found.get_input(1).name}.isdisjoint({"q", "k"})
    names = {"x", "k", "v", "q", "y"}
    assert attention.remove_unit_products(parsed.tensorrt, parsed.network, names) == 2
    assert [found.get_input(i).name for i in range(3)] == ["q", "k", "v"]


def test_the_graphs_own_products_stay() -> None:
    """A product of the graph itself is not mistaken for the parser's."""
    parsed = parse_text(SCALED)
    found = attention_of(parsed)
    found.set_input(0, parsed.makers()["q"].get_output(0))
    assert attention.remove_unit_products(parsed.tensorrt, parsed.network, {"q", "k", "v"}) == 1
    assert found.get_input(0).name == "q"


def test_the_language_models_attention(tiny_bundle: Path, tmp_path: Path) -> None:
    """Keys and values come directly from the cache update, and all updates read one cast."""
    parsed = language_model(tiny_bundle, tmp_path)
    makers = parsed.makers()
    for layer in parsed.layers("ATTENTION_INPUT"):
        layer.__class__ = parsed.tensorrt.module.IAttentionInputLayer
        read = [layer.attention.get_input(i).name for i in range(3)]
        assert [makers[name].type.name for name in read[1:]] == ["KV_CACHE_UPDATE"] * 2
        assert layer.attention.mask is not None
    positions = {layer.get_input(2).name for layer in parsed.layers("KV_CACHE_UPDATE")}
    assert len(positions) == 1


def test_a_refused_change() -> None:
    """A change that TensorRT refuses is an error that names the layer."""
    tensorrt = load("tensorrt-rtx")
    kind = tensorrt.module.LayerType
    product, factor = (SimpleNamespace(name=n, shape=(1, 1)) for n in ("p", "f"))
    source = SimpleNamespace(name="k", shape=(2, 4))
    one = SimpleNamespace(type=kind.CONSTANT, num_outputs=1, get_output=lambda _: factor)
    made = SimpleNamespace(
        type=kind.ELEMENTWISE,
        num_inputs=2,
        num_outputs=1,
        get_output=lambda _: product,
        get_input=lambda index: (source, factor)[index],
    )
    first = Layer(
        attention=SimpleNamespace(get_input=lambda _: product, set_input=lambda *_: False),
        type=kind.ATTENTION_INPUT,
        name="a",
        num_outputs=0,
    )
    layers = (one, made, first)
    network: Any = SimpleNamespace(num_layers=3, get_layer=lambda index: layers[index])
    allowed = SimpleNamespace(LayerType=kind, IAttentionInputLayer=Layer)
    fake: Any = SimpleNamespace(features=tensorrt.features, module=allowed)
    with pytest.raises(EngineError, match="refuses k as input 0 of a; report it"):
        attention.remove_unit_products(fake, network, set())


def test_a_product_with_a_computed_factor_stays() -> None:
    """Only a constant is the parser's own factor."""
    text = SCALED.replace(
        "[a] y = Attention <scale = 1.0> (q, k, v)", "[a] y = Attention (q, k, v)"
    )
    parsed = parse_text(text)
    makers = parsed.makers()
    found = attention_of(parsed)
    product = makers[found.get_input(1).name]
    product.set_input(1, parsed.network.get_input(0))  # x, which is computed
    assert attention.remove_unit_products(parsed.tensorrt, parsed.network, {"x", "k", "v"}) <= 1
    assert found.get_input(1).name == product.get_output(0).name


def test_nothing_where_a_version_has_no_attention() -> None:
    parsed = parse_text(SCALED)
    older = fake_tensorrt()
    assert attention.attention_layers(older, parsed.network) == 0
    assert attention.allow_decomposition(older, parsed.network) == 0
    assert attention.share_write_positions(older, parsed.network) == 0
    assert attention.attention_layers(parsed.tensorrt, parsed.network) == 1


def test_fused_attention_is_tried_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that lacks a fused kernel is tried again with decomposition; another failure is not."""
    monkeypatch.setattr(api, "why_no_gpu", lambda: None)
    config, tries = DIMENSIONS["tiny"], list[bool]()
    out, graph = tmp_path / "g.plan", tmp_path / "g.onnx"
    onnx.save(onnx.parser.parse_model(HEADER + HEAD), str(graph))

    def build(message: str) -> str:
        tensorrt = fake_tensorrt(recent=True, attention_error=message, tries=tries)
        profile = parse_profile("", config)
        return build_plan(graph, Graph.TEXT_HEAD, config, profile, tensorrt, out).attention

    assert build("") == "fused"
    assert build("Attention was not supported by a dedicated kernel") == "decomposed"
    assert tries == [False, False, True]
    with pytest.raises(EngineError, match="cannot build the engine .*out of memory"):
        build("out of memory")
    assert tries == [False, False, True, False]
