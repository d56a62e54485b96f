"""Plans against ONNX Runtime: verdicts and bisection with fakes, and Polygraphy where it is there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import pytest

from janus_edge.bundle import Bundle
from janus_edge.engines.graph_cut import cut, float_values, read_graph, save_beside
from janus_edge.engines.parity_feeds import Feed, seeded_feeds
from janus_edge.engines.polygraphy_parity import (
    Outputs,
    PolygraphyRunners,
    compare_plan,
    first_bad_value,
)
from janus_edge.errors import DependencyError, EngineError
from janus_edge.graphs import Graph


class Fakes:
    """Both sides are ONNX Runtime; TensorRT's is off by ``error`` behind the node ``bad``."""

    def __init__(self, bad: str | None = None, error: float = 0.1) -> None:
        self.bad, self.error, self.parts = bad, error, 0

    def reference(self, graph_file: Path, feeds: Sequence[Feed]) -> list[Outputs]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        opened = onnxruntime.InferenceSession(
            str(graph_file), options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in opened.get_outputs()]
        return [dict(zip(names, opened.run(names, feed), strict=True)) for feed in feeds]

    def plan(self, plan: Path, feeds: Sequence[Feed], profile: int | None) -> list[Outputs]:
        return self.built(plan, feeds)

    def built(self, graph_file: Path, feeds: Sequence[Feed]) -> list[Outputs]:
        self.parts += 1
        made = self.reference(graph_file, feeds)
        if self.bad in {node.name for node in read_graph(graph_file).graph.node}:
            made = [{n: a + a.dtype.type(self.error) for n, a in one.items()} for one in made]
        return made


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle, verify=False)


@pytest.fixture(scope="module")
def feeds(bundle: Bundle) -> tuple[Feed, ...]:
    return seeded_feeds(Graph.LANGUAGE_MODEL, bundle.manifest.config, "float32", capacity=32)


def test_equal_plans_pass(bundle: Bundle, feeds: tuple[Feed, ...]) -> None:
    """Every output of the table has a figure, the cache's too."""
    graph = bundle.graph(Graph.LANGUAGE_MODEL)
    parity = compare_plan(Fakes(), graph, graph, feeds, "float32")
    assert parity
    assert list(parity.outputs) == [
        p.name for p in bundle.manifest.graphs["language_model"].outputs
    ]
    assert parity.outputs["lengths"].max_abs == 0


def test_the_worst_call_counts(bundle: Bundle, feeds: tuple[Feed, ...]) -> None:
    """One wrong call of several fails its output, and no other output."""

    class OneWrong(Fakes):
        def plan(self, plan: Path, feeds: Sequence[Feed], profile: int | None) -> list[Outputs]:
            made = [dict(one) for one in self.reference(plan, feeds)]
            made[0]["hidden_states"] = made[0]["hidden_states"] * np.float32(1.01)
            return list(made)

    graph = bundle.graph(Graph.LANGUAGE_MODEL)
    parity = compare_plan(OneWrong(), graph, graph, feeds, "float32")
    assert not parity
    assert [name for name, one in parity.outputs.items() if not one] == ["hidden_states"]
    assert parity.outputs["hidden_states"].snr_db == pytest.approx(40, abs=0.1)


def test_other_outputs_are_refused(bundle: Bundle, feeds: tuple[Feed, ...]) -> None:
    """A plan of another graph, or of other dimensions, is no matter of tolerance."""

    class Other(Fakes):
        def plan(self, plan: Path, feeds: Sequence[Feed], profile: int | None) -> list[Outputs]:
            return [{"something": np.zeros(3)} for _ in feeds]

    class Shorter(Fakes):
        def plan(self, plan: Path, feeds: Sequence[Feed], profile: int | None) -> list[Outputs]:
            made = self.reference(plan, feeds)
            return [{n: a[:1] for n, a in one.items()} for one in made]

    graph = bundle.graph(Graph.LANGUAGE_MODEL)
    with pytest.raises(EngineError, match="one returns something and the other hidden_states"):
        compare_plan(Other(), graph, graph, feeds, "float32")
    with pytest.raises(EngineError, match=r"hidden_states: shapes differ.*build the engine again"):
        compare_plan(Shorter(), graph, graph, feeds, "float32")


@pytest.mark.parametrize(
    "bad", ["layers.0.input_layernorm/RMSNormalization", "layers.1.mlp.up_proj/MatMul",
            "norm/RMSNormalization"],
)  # fmt: skip
def test_the_first_bad_value(
    bundle: Bundle, feeds: tuple[Feed, ...], tmp_path: Path, bad: str
) -> None:
    """The layer that errs is found, in about log2 of the number of values."""
    runners, graph = Fakes(bad), bundle.graph(Graph.LANGUAGE_MODEL)
    found = first_bad_value(runners, graph, feeds[0], "float32", tmp_path)
    assert found
    assert found.value.node == bad
    assert not found.difference
    values = float_values(read_graph(graph))
    where = values.index(found.value)
    assert found.before == (values[where - 1] if where else None)
    assert found.builds == runners.parts <= 1 + len(values).bit_length()
    assert not list(tmp_path.iterdir())


def test_nothing_is_bad(bundle: Bundle, feeds: tuple[Feed, ...], tmp_path: Path) -> None:
    """Errors below the tolerance are none: one build tells."""
    runners = Fakes("norm/RMSNormalization", error=1e-7)
    graph = bundle.graph(Graph.LANGUAGE_MODEL)
    assert first_bad_value(runners, graph, feeds[0], "float32", tmp_path) is None
    assert runners.parts == 1


def test_without_polygraphy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said, and the name is the package's, not a module's."""
    for name in [*(n for n in sys.modules if n.startswith("polygraphy")), "polygraphy"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DependencyError, match=r"'polygraphy'.*janus-edge\[polygraphy\]"):
        PolygraphyRunners()


def test_onnx_runtime_through_polygraphy(bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    """Every graph of a bundle runs as it is, with the results of ONNX Runtime itself, silently."""
    pytest.importorskip("polygraphy", reason="polygraphy is not installed")
    runners = PolygraphyRunners()
    capfd.readouterr()
    for graph in Graph:
        path = bundle.graph(graph)
        feeds = seeded_feeds(graph, bundle.manifest.config, "float32", capacity=32)
        for ours, theirs in zip(
            runners.reference(path, feeds), Fakes().reference(path, feeds), strict=True
        ):
            assert ours.keys() == theirs.keys()
            for name, array in theirs.items():
                np.testing.assert_allclose(ours[name], array, rtol=1e-3, atol=1e-4)
    assert capfd.readouterr().out == ""


def test_failures_name_the_file(bundle: Bundle) -> None:
    """Inputs that a graph does not take, and plans without a TensorRT or a GPU, are told plainly."""
    pytest.importorskip("polygraphy", reason="polygraphy is not installed")
    runners = PolygraphyRunners()
    path = bundle.graph(Graph.TEXT_HEAD)
    with pytest.raises(EngineError, match=r"text_head\.onnx: Polygraphy cannot run it"):
        runners.reference(path, [{"nothing": np.zeros(1)}])
    with pytest.raises((DependencyError, EngineError), match="tensorrt"):
        runners.plan(path, [], None)


# Polygraphy 0.53.6 sets a timing cache, which TensorRT-RTX deprecates as doing nothing
@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX:DeprecationWarning")
def test_parts_build_with_tensorrt_rtx(
    bundle: Bundle, feeds: tuple[Feed, ...], tmp_path: Path
) -> None:
    """What bisection builds, up to running it: half of the language model, in float32, without TF32."""
    pytest.importorskip("polygraphy", reason="polygraphy is not installed")
    rtx = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")
    runners = PolygraphyRunners("tensorrt-rtx")
    trt = importlib.import_module("polygraphy.backend.trt")
    graph, flags = bundle.graph(Graph.LANGUAGE_MODEL), []
    model = read_graph(graph)
    shapes = {name: array.shape for name, array in feeds[0].items()}
    small = cut(model, "layers.0.mlp.down_proj/MatMul_output_0", shapes)
    options = trt.PostprocessConfig(
        runners.options(trt),
        lambda _, n, config: flags.append(config.get_flag(rtx.BuilderFlag.TF32)),
    )
    with TemporaryDirectory(dir=tmp_path) as own:
        part = save_beside(small, graph, Path(own), "part")
        plan = trt.EngineBytesFromNetwork(runners.network(trt, part), config=options)()
    assert len(memoryview(plan)) > 0
    assert flags == [False]
    with pytest.raises(EngineError, match="the other TensorRT in this process"):
        PolygraphyRunners("tensorrt")
    for name in [n for n in sys.modules if n.startswith("polygraphy")]:
        del sys.modules[name]  # the next test chooses anew
