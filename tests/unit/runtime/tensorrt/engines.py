"""Engine folders whose plans the fake TensorRT runs, of a real bundle or of one that counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.engine import Engine
from janus_edge.engine_manifest import GraphBuild, LanguagePlan, Profile, Range
from janus_edge.engines.build import BuiltGraph, build_engine
from janus_edge.engines.tensorrt import profiles
from janus_edge.export.synthetic_tokenizer import build_tokenizer
from janus_edge.graphs import Graph, engine_signature, signature
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
    """Write plans for the fake TensorRT.

    With ``real``, plans compute what NVIDIA's parser makes of the bundle's graphs, which needs
    tensorrt-rtx. Otherwise they compute the functions of :class:`Machine`.
    """

    config: JanusConfig
    name: str = "tensorrt"
    compute_capability: str | None = "8.9"
    profile: profiles.Profile = PROFILE
    versions: dict[str, str] = field(default_factory=lambda: {"tensorrt": "10.16.1"})
    real: bool = False
    #: bytes of weights in each of the language model's plans, and in its file
    weights: int = 1000
    padded: bool = True
    scratch: dict[str, int | list[int]] = field(default_factory=dict)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        return self.profile.manifest_entries()

    def tools(self) -> dict[str, str]:
        return self.versions

    def check(self, bundle: Bundle) -> None:
        pass

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        ports, plans = engine_signature(graph, self.config, self.name), []
        several = {graph.value: self.profile}
        if graph is Graph.LANGUAGE_MODEL:
            several = self.profile.language_plans()
        for name, profile in several.items():
            self._write(bundle, graph, folder, name, profile)
            plans.append(
                LanguagePlan(
                    name, f"graphs/{name}.plan", profile.plan_entries(), GraphBuild(1000, 4096, {})
                )
            )
        entry = GraphEntry(plans[0].file, (), ports.inputs, ports.outputs)
        told = tuple(plans) if graph is Graph.LANGUAGE_MODEL else ()
        return BuiltGraph(entry, plans[0].build, told)

    def _write(
        self, bundle: Bundle, graph: Graph, folder: Path, name: str, profile: profiles.Profile
    ) -> None:
        ports = engine_signature(graph, self.config, self.name)
        fixed = profiles.fixed_sizes(graph, profile)
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
            "name": name,
            "network": self._network(bundle, graph, folder, profile) if self.real else None,
            "tensors": tensors,
            "profiles": profiles.optimization_profiles(graph, self.config, profile),
            "scratch": self.scratch.get(graph.value, 4096),
            "weights": self.weights if graph is Graph.LANGUAGE_MODEL else 1000,
        }
        path = folder / "graphs" / f"{name}.plan"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan).ljust(plan["weights"] if self.padded else 0))

    def _network(
        self, bundle: Bundle, graph: Graph, folder: Path, profile: profiles.Profile
    ) -> str:
        from tests.unit.runtime.tensorrt.parsed_plans import add_plan

        return add_plan(self.name, bundle, graph, profile, folder.parent / "lowered")


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
    found = {graph.value: s._function for graph, s in FakeBackend().sessions.items()}
    whole = found[Graph.LANGUAGE_MODEL.value]

    def language_model(inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
        """If only the new rows are asked for, the cache stays as it is."""
        rows = {name: array for name, array in outputs.items() if name.startswith("new_")}
        if not rows:
            whole(inputs, outputs)
            return
        past = [name for name in inputs if name.startswith("past_") and name != "past_lengths"]
        present = {name.replace("past_", "present_"): inputs[name].copy() for name in past}
        whole(inputs, {n: a for n, a in outputs.items() if n not in rows} | present)
        for name, array in rows.items():
            for row, start in enumerate(inputs["past_lengths"].tolist()):
                stop = start + array.shape[2]
                array[row] = present[name.replace("new_", "present_")][row, :, start:stop]

    return {**found, Graph.LANGUAGE_MODEL.value: language_model}


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
