"""Engine folders whose plans the fake TensorRT runs, of a real bundle or of one that counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.engine import Engine
from janus_edge.engine_manifest import GraphBuild, Profile, Range
from janus_edge.engines.build import BuiltGraph, build_engine
from janus_edge.engines.tensorrt import profiles
from janus_edge.export.synthetic_tokenizer import build_tokenizer
from janus_edge.graphs import Graph, signature
from janus_edge.manifest import GraphEntry, Manifest, Source, TableEntry
from janus_edge.progress import Row
from janus_edge.recipe import RECIPES
from janus_edge.runtime.tensorrt.formats import format_of
from tests.unit.runtime.cuda.fake_driver import FakeDriver
from tests.unit.runtime.fakes import CONFIG, SPECIAL, FakeBackend, embedding_table
from tests.unit.runtime.tensorrt.fake_tensorrt import Behaviour, fake_module

#: What engines are built for unless a test says otherwise.
PROFILE = profiles.Profile(Range(1, 2, 8), Range(1, 16, 64), 128, Range(1, 1, 4), Range(1, 1, 1))


@dataclass
class FakeTarget:
    """Writes plans for the fake TensorRT.

    With ``real`` they compute what NVIDIA's parser makes of the bundle's graphs, which needs
    tensorrt-rtx; else they compute the functions of :class:`Machine`.
    """

    config: JanusConfig
    name: str = "tensorrt"
    compute_capability: str | None = "8.9"
    profile: profiles.Profile = PROFILE
    versions: dict[str, str] = field(default_factory=lambda: {"tensorrt": "10.16.1"})
    real: bool = False
    scratch: dict[str, int] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        return self.profile.manifest_entries()

    def tools(self) -> dict[str, str]:
        return self.versions

    def check(self, bundle: Bundle) -> None:
        pass

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        ports = signature(graph, self.config)
        fixed = profiles.fixed_sizes(graph, self.profile)
        float_type = bundle.manifest.recipe.float_type
        tensors = {
            port.name: {
                "mode": mode,
                "dtype": format_of(port.dtype, float_type).member,
                "shape": [
                    fixed.get(dim, dim) if isinstance(dim, str) else dim for dim in port.shape
                ],
            }
            for mode, some in (("INPUT", ports.inputs), ("OUTPUT", ports.outputs))
            for port in some
        }
        plan = {
            "graph": graph.value,
            "network": self._network(bundle, graph, folder) if self.real else None,
            "tensors": tensors,
            "profiles": profiles.optimization_profiles(graph, self.config, self.profile),
            "scratch": self.scratch.get(graph.value, 4096),
            "weights": 1000,
            "streamable": 600 if self.options else 0,
        }
        path = folder / "graphs" / f"{graph.value}.plan"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan))
        entry = GraphEntry(f"graphs/{graph.value}.plan", (), ports.inputs, ports.outputs)
        return BuiltGraph(entry, GraphBuild(1000, 4096, {}))

    def _network(self, bundle: Bundle, graph: Graph, folder: Path) -> str:
        from tests.unit.runtime.tensorrt.parsed_plans import add_plan

        return add_plan(self.name, bundle, graph, self.profile, folder.parent / "lowered")


def counting_bundle(folder: Path, precision: str = "fp32") -> Bundle:
    """A bundle of the model that counts (`tests/unit/runtime/fakes.py`), without graphs."""
    folder.mkdir()
    build_tokenizer(CONFIG.language.vocab_size).save(str(folder / "tokenizer.json"))
    table, recipe = embedding_table(), RECIPES[precision]
    (folder / "table.bin").write_bytes(table.tobytes())
    graphs = {graph.value: GraphEntry(f"{graph.value}.onnx", (), *_ports(graph)) for graph in Graph}
    manifest = Manifest(
        schema_version=1,
        config=CONFIG,
        special_tokens=SPECIAL,
        recipe=recipe,
        graphs=graphs,
        tokenizer="tokenizer.json",
        text_embeddings=TableEntry("table.bin", "float32", table.shape),
        source=Source("counting", "none", "0" * 64),
        tools={},
        parity={},
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    return Bundle(folder, manifest, verify=False)


def _ports(graph: Graph) -> tuple[Any, Any]:
    found = signature(graph, CONFIG)
    return found.inputs, found.outputs


def counting_engine(folder: Path, precision: str = "fp32", **target: Any) -> Engine:
    """An engine of the model that counts; ``target`` as :class:`FakeTarget`."""
    bundle = counting_bundle(folder / "bundle", precision)
    return build_engine(bundle, FakeTarget(CONFIG, **target), folder / "engine").engine


def counting_functions() -> dict[str, Callable[..., None]]:
    """What the plans of :func:`counting_engine` compute."""
    return {graph.value: s._function for graph, s in FakeBackend().sessions.items()}


@dataclass
class Machine:
    """A machine with a fake GPU and a fake TensorRT."""

    driver: FakeDriver
    behaviour: Behaviour
    module: Any
    functions: dict[str, Callable[..., None]]


def install(
    monkeypatch: pytest.MonkeyPatch, driver: FakeDriver | None = None, version: str = "10.16"
) -> Machine:
    """Let `libcuda.so.1` and TensorRT's module be the fakes."""
    driver, behaviour, functions = driver or FakeDriver(), Behaviour(), counting_functions()
    module = fake_module(driver, version=version, functions=functions, behaviour=behaviour)
    monkeypatch.setattr("ctypes.CDLL", lambda _name: driver)
    name = "tensorrt_rtx" if version.startswith("rtx") else "tensorrt"
    monkeypatch.setitem(__import__("sys").modules, name, module)
    return Machine(driver, behaviour, module, functions)
