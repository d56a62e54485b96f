"""Plans of the fake TensorRT that any process can run: each names the graph it was parsed from.

`parsed_plans.py` keeps networks in the process that parsed them. Each command of gpu-check is its own
process, so a plan names its graph, and each process parses the graph at the first run.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus_edge.bundle import Bundle
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.graphs import Graph
from tests.unit.runtime.tensorrt import parsed_plans
from tests.unit.runtime.tensorrt.engines import FakeTarget

_MODULE = "tensorrt_rtx"


@dataclass
class RehearsedTarget(FakeTarget):
    """A target whose plans name their bundle; ``what`` says what is rehearsed (`options.REHEARSALS`)."""

    what: str = "right"

    def _network(
        self, bundle: Bundle, graph: Graph, folder: Path, profile: Profile | None = None
    ) -> str:
        capacity = (profile or self.profile).capacity
        words = (self.name, str(bundle.path.absolute()), graph.value, capacity, self.what)
        return json.dumps(words)


def install() -> None:
    """Let the fake TensorRT run such plans; call this before its modules replace TensorRT-RTX."""
    real, run = importlib.import_module(_MODULE), parsed_plans.run_plan

    def run_plan(key: str, given: Any, made: Any) -> None:
        if key not in parsed_plans._INTERPRETERS:
            fake, sys.modules[_MODULE] = sys.modules[_MODULE], real
            try:
                _parse(key)
            finally:
                sys.modules[_MODULE] = fake
        run(key, given, made)

    parsed_plans.run_plan = run_plan


def _parse(key: str) -> None:
    """Add the interpreter for the network that ``key`` names."""
    name, path, graph_name, capacity, what = json.loads(key)
    bundle, graph = Bundle.open(path, verify=False), Graph(graph_name)
    profile = parse_profile(f"rows=2:8,prefill=16:64,capacity={capacity}", bundle.manifest.config)
    with tempfile.TemporaryDirectory() as folder:
        if what == "wrong-attention" and graph is Graph.LANGUAGE_MODEL:
            from tests.unit.gpu_check.wrong_attention import parsed

            network = parsed(bundle, graph, profile, Path(folder))
        else:
            network = parsed_plans.parsed_network(name, bundle, graph, Path(folder), profile)
    parsed_plans._INTERPRETERS[key] = parsed_plans.Interpreter(network)
