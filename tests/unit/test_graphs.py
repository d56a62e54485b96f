"""The table of graphs: consistent with itself and with the dimensions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from janus_edge.config import JanusConfig, LanguageConfig, VisionConfig, VQConfig
from janus_edge.graphs import Graph, Port, cache_names, engine_signature, signature

CONFIG = JanusConfig(
    VisionConfig(1024, 24, 16, 4096, image_size=384, patch_size=16),
    VQConfig(16384, 8, 128, (1, 1, 2, 2, 4), res_blocks=2, latent_channels=256),
    LanguageConfig(2048, 3, 16, 4, 5632, vocab_size=102400, max_positions=16384),
    image_head_size=2048,
)


@pytest.mark.parametrize("graph", Graph)
def test_ports(graph: Graph) -> None:
    """Names are unique per side, dtypes are the three known, symbols are those of the table."""
    ports = signature(graph, CONFIG)
    for side in (ports.inputs, ports.outputs):
        assert side
        assert len({port.name for port in side}) == len(side)
        for port in side:
            assert port.dtype in ("float", "float32", "int64")
            assert all(d in ("B", "S", "C", "N", "P", "2P") or int(d) > 0 for d in port.shape)


@pytest.mark.parametrize("graph", Graph)
def test_outputs_have_known_symbols(graph: Graph) -> None:
    """An output's symbols occur in the inputs: its shape is known before the graph runs."""
    ports = signature(graph, CONFIG)
    given = {str(d).removeprefix("2") for port in ports.inputs for d in port.shape if d != 1}
    for port in ports.outputs:
        assert {d.removeprefix("2") for d in port.shape if isinstance(d, str)} <= given


def test_cache() -> None:
    """The cache goes in as past and comes out as present, layer by layer, in equal shapes."""
    ports = signature(Graph.LANGUAGE_MODEL, CONFIG)
    past, present = ports.inputs[2:], ports.outputs[2:]
    assert [p.name for p in past] == list(cache_names("past", 3))
    assert [p.name for p in present] == list(cache_names("present", 3))
    assert {p.shape for p in (*past, *present)} == {("B", 4, "C", 128)}
    integers = signature(Graph.LANGUAGE_MODEL, CONFIG, "int8")
    assert {p.dtype for p in (*integers.inputs[2:], *integers.outputs[2:])} == {"int8"}
    assert (integers.inputs[:2], integers.outputs[:2]) == (ports.inputs[:2], ports.outputs[:2])
    names = ["x_key.0", "x_value.0", "x_key.1", "x_value.1"]
    assert list(cache_names("x", 2)) == names


@pytest.mark.parametrize("target", ["ort-cpu", "ort-cuda", "tensorrt", "tensorrt-rtx"])
def test_engines_keep_the_table(target: str) -> None:
    """An engine's inputs and outputs are those of the table, also with an int8 cache."""
    for graph in Graph:
        for cache in ("float", "int8"):
            wanted = signature(graph, CONFIG, cache)
            assert engine_signature(graph, CONFIG, target, cache) == wanted


def test_engines_that_return_new_rows() -> None:
    """`tensorrt-10.3` keeps the inputs, and returns new keys and values instead of present ones."""
    for graph in Graph:
        ports, table = engine_signature(graph, CONFIG, "tensorrt-10.3"), signature(graph, CONFIG)
        assert ports.inputs == table.inputs
        if graph is Graph.LANGUAGE_MODEL:
            assert ports.outputs[:2] == table.outputs[:2]
            new = ports.outputs[2:]
            assert [p.name for p in new] == list(cache_names("new", 3))
            assert {(p.dtype, p.shape) for p in new} == {("float", ("B", 4, "S", 128))}
        else:
            assert ports.outputs == table.outputs


def test_stages_fit() -> None:
    """What one graph puts out, the next takes in: the same name, dtype and width."""
    ports = {graph: signature(graph, CONFIG) for graph in Graph}
    (codes,), (pixels,) = ports[Graph.VQ_ENCODER].outputs, ports[Graph.VQ_ENCODER].inputs
    assert ports[Graph.VQ_DECODER].inputs == (codes,)
    assert ports[Graph.VQ_DECODER].outputs == (pixels,)
    assert ports[Graph.VISION_ENCODER].inputs == (pixels,)
    width = CONFIG.language.hidden_size
    for graph in (Graph.VISION_ENCODER, Graph.IMAGE_EMBEDDING, Graph.LANGUAGE_MODEL):
        assert ports[graph].outputs[0].shape[-1] == width
    (logits,) = ports[Graph.IMAGE_HEAD].outputs
    assert ports[Graph.GUIDED_SAMPLER].inputs[0].shape[1] == logits.shape[1]
    assert ports[Graph.GUIDED_SAMPLER].outputs == ports[Graph.IMAGE_EMBEDDING].inputs


def test_sizes_come_from_the_dimensions() -> None:
    """Another model has other shapes: nothing in the table is fixed to the published sizes."""
    smaller = replace(
        CONFIG,
        vision=replace(CONFIG.vision, image_size=96),
        language=replace(CONFIG.language, hidden_size=64, vocab_size=500),
    )
    assert signature(Graph.VQ_DECODER, smaller).inputs[0].shape == ("N", 36)
    assert signature(Graph.TEXT_HEAD, smaller).outputs[0].shape == ("N", 500)
    assert str(Port("logits", "float", ("N", 500))) == "logits [N,500] float"
