"""The int8 KV cache: what stands in it, what it costs, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.cache_quantizer import quantise_cache
from janus_edge.calib.cache_updates import as_rows, cache_updates
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.operands import load_graph
from janus_edge.calib.recipes import quantised_recipe
from janus_edge.compare import difference
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.session import OrtCpuBackend
from tests.unit.int8_cache import int8_cache_bundle

#: Prompts of two rows, then single tokens; no call writes at place 20 or behind it.
_CALLS, _UNTOUCHED = ((9, 5), (1, 1), (1, 1)), 20


@pytest.fixture(scope="module")
def quantised(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return int8_cache_bundle(tiny_bundle, tmp_path_factory.mktemp("int8-cache"))


def driven(path: Path, size: float = 1.0) -> tuple[NDArray[np.float32], KVCache]:
    """The hidden states of the last call, and the cache, which was full of sevens before."""
    bundle = Bundle.open(path)
    backend = OrtCpuBackend(bundle, threads=1)
    cache = KVCache.of(backend, bundle.manifest.config.language, 2, 24)
    for buffer in cache.buffers:
        buffer[:] = 7
    model, rng = LanguageModel(backend.session(Graph.LANGUAGE_MODEL)), np.random.default_rng(5)
    for counts in map(np.array, _CALLS):
        step = model.plan(cache, int(counts.max()))
        step.inputs_embeds[:] = size * rng.normal(size=step.inputs_embeds.shape)
        step.run()
        cache.lengths += counts
    return step.hidden_states.copy(), cache


def scales(path: Path) -> list[NDArray[np.float32]]:
    """Those of keys and values in the order of the cache's buffers."""
    graph = load_graph(Bundle.open(path).graph(Graph.LANGUAGE_MODEL)).graph
    found = {
        i.name.removesuffix(".scale"): onnx.numpy_helper.to_array(i)
        for i in graph.initializer
        if i.name.endswith(".scale")
    }
    by_past = {u.past: found[u.new.removesuffix(".quantized")] for u in cache_updates(graph)}
    return [by_past[p.name] for p in graph.input if p.name.startswith(("past_k", "past_v"))]


def test_the_cache_of_a_graph(tiny_bundle: Path) -> None:
    """Keys and values of each layer, by the names of its inputs and outputs."""
    bundle = Bundle.open(tiny_bundle)
    config, graph = bundle.manifest.config.language, load_graph(bundle.graph(Graph.LANGUAGE_MODEL))
    found = cache_updates(graph.graph)
    assert {u.past for u in found} == {
        f"past_{kind}.{i}" for kind in ("key", "value") for i in range(config.layers)
    }
    assert all(u.present == u.past.replace("past", "present") for u in found)
    assert {(u.heads, u.head_size) for u in found} == {(config.kv_heads, config.head_dim)}
    assert cache_updates(load_graph(bundle.graph(Graph.VISION_ENCODER)).graph) == []


def test_rows_of_tokens() -> None:
    """Head by head beside each other, as a projection has them."""
    flat = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    heads_first = flat.reshape(2, 3, 4, 2).swapaxes(1, 2)
    np.testing.assert_array_equal(as_rows(heads_first), flat)


def test_what_the_manifest_says(quantised: Path) -> None:
    """The recipe has the cache's type, and so have the ports; everything else stays."""
    manifest = Bundle.open(quantised).manifest
    assert (manifest.recipe.name, manifest.recipe.cache) == ("int8-cache", "int8")
    assert manifest.recipe.quantised
    entry = manifest.graphs["language_model"]
    ports = {p.name: p.dtype for p in (*entry.inputs, *entry.outputs)}
    cached = {n: d for n, d in ports.items() if n.startswith(("past_k", "past_v", "present"))}
    assert set(cached.values()) == {"int8"}
    assert {d for n, d in ports.items() if n not in cached} == {"float", "int64"}


def test_what_stands_in_the_cache(tiny_bundle: Path, quantised: Path) -> None:
    """Of the first layer, whose input is the same: every float to the nearest of its channel's
    steps, saturated at 127 of them. Written in place: what lies behind is as it was."""
    for size in (1.0, 40.0):
        (_, floats), (_, integers) = driven(tiny_bundle, size), driven(quantised, size)
        for buffer in integers.buffers:
            assert buffer.dtype == np.int8
            assert (buffer[:, :, _UNTOUCHED:] == 7).all()
        for float_buffer, buffer, scale in zip(
            floats.buffers[:2], integers.buffers, scales(quantised), strict=False
        ):
            for row, length in enumerate(floats.lengths):
                expected = float_buffer[row, :, :length] / scale[0]
                found = buffer[row, :, :length]
                inside = np.abs(expected) < 127
                assert (np.abs(found - expected)[inside] <= 0.5 + 1e-4).all()
                assert (found == np.clip(np.rint(expected), -128, 127))[~inside].all()


def test_what_it_costs(tiny_bundle: Path, quantised: Path) -> None:
    """Hidden states of inputs that it was not calibrated with keep 30 dB, and are not the same."""
    expected, found = driven(tiny_bundle, 0.5)[0], driven(quantised, 0.5)[0]
    seen = difference(found, expected, "float32")
    assert seen.snr_db is not None
    assert 30 < seen.snr_db < 80


def test_scales_are_those_of_the_calibration(quantised: Path) -> None:
    """The largest magnitude of each channel is 127 steps."""
    statistics = Calibration.load(quantised.parent / "calibration.npz").graphs["language_model"]
    graph = load_graph(Bundle.open(quantised).graph(Graph.LANGUAGE_MODEL)).graph
    for name, scale in (
        (i.name.removesuffix(".scale"), onnx.numpy_helper.to_array(i))
        for i in graph.initializer
        if i.name.endswith(".scale")
    ):
        assert statistics[name].count > 100
        np.testing.assert_allclose(scale.ravel() * 127, statistics[name].channel_maximum, rtol=1e-6)


def test_what_is_refused(tiny_bundle: Path, quantised: Path, tmp_path: Path) -> None:
    """No calibration, one from before keys and values were recorded, and a graph without a cache."""
    parent, recipe = Bundle.open(tiny_bundle), quantised_recipe("int8-cache", "float32")
    with pytest.raises(
        InputError, match="'int8-cache' needs to know what its layers read and cache"
    ):
        quantise_bundle(parent, tmp_path / "q", recipe)
    whole = Calibration.load(quantised.parent / "calibration.npz")
    graph = load_graph(parent.graph(Graph.LANGUAGE_MODEL)).graph
    for update in cache_updates(graph):
        del whole.graphs["language_model"][update.new]
    whole.save(tmp_path / "older.npz")
    with pytest.raises(
        InputError, match=r"no input of .* in graph 'language_model'; calibrate again"
    ):
        quantise_bundle(parent, tmp_path / "q", recipe, tmp_path / "older.npz")
    assert not (tmp_path / "q").exists()
    head = shutil.copy(parent.graph(Graph.TEXT_HEAD), tmp_path / "head.onnx")
    with pytest.raises(InputError, match=r"head\.onnx: has no KV cache to quantise"):
        quantise_cache(Path(head), whole)
