"""`janus-edge parity --engines`, with ONNX Runtime in the place of TensorRT."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.cli import engine_parity_report
from janus_edge.engine_manifest import GraphBuild, LanguagePlan
from janus_edge.engines import polygraphy_parity
from janus_edge.engines.build import build_engine
from janus_edge.engines.parity_feeds import Feed
from janus_edge.engines.polygraphy_parity import Outputs
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.graphs import Graph
from tests.unit.cli.conftest import Run
from tests.unit.engines.copying import Copying
from tests.unit.engines.test_polygraphy_parity import Fakes
from tests.unit.runtime.fakes import CONFIG


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's own graphs in the place of plans, with a profile of 32 positions."""
    bundle = Bundle.open(tiny_bundle)
    profile = parse_profile("rows=2,prefill=8,capacity=32", bundle.manifest.config)

    target = Copying("tensorrt-rtx", profiles=profile.manifest_entries())
    path = tmp_path_factory.mktemp("engine") / "tiny-rtx"
    build_engine(bundle, target, path)
    return path


class Plans(Fakes):
    """TensorRT whose plans are the graphs themselves; ``wrong`` makes hidden states 1 % too large."""

    profiles: list[int | None]

    def __init__(self, *, wrong: bool = False) -> None:
        super().__init__("norm/RMSNormalization" if wrong else None)
        self.wrong, self.profiles = wrong, []

    def plan(self, plan: Path, feeds: Sequence[Feed], profile: int | None) -> list[Outputs]:
        self.profiles.append(profile)
        made = [dict(one) for one in self.reference(plan, feeds)]
        for one in made:
            if self.wrong and "lengths" in one:
                one["hidden_states"] = one["hidden_states"] * np.float32(1.01)
        return list(made)


def use(runners: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polygraphy_parity, "PolygraphyRunners", lambda target: runners)


def test_equal(
    tiny_bundle: Path, engine: Path, janus_edge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every graph, the language model with both profiles."""
    runners = Plans()
    use(runners, monkeypatch)
    done = janus_edge("parity", tiny_bundle, engine, "--engines", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["passed"]
    assert [*found["graphs"]] == [graph.value for graph in Graph]
    assert {"prefill hidden_states", "decode hidden_states"} < {*found["graphs"]["language_model"]}
    assert runners.profiles == [0] * 3 + [0, 1] + [0] * 4
    done = janus_edge("parity", tiny_bundle, engine, "--engines")
    assert "8 of 8 updated caches within their tolerance" in done.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("prefill=8", [("prefill", 0, 8, 32, 1), ("decode", 1, 1, 32, 1)]),
        (
            "chat=48,prefill=40,window=6",
            [
                ("prefill", 0, 16, 32, 1), ("window", 1, 6, 32, 1), ("decode", 2, 1, 32, 1),
                ("prefill 48", 0, 16, 48, 1), ("window 48", 1, 6, 48, 1), ("decode 48", 2, 1, 48, 1),
            ],
        ),
        ("split=1", [("prefill", 0, 16, 32, 2), ("decode", 0, 1, 32, 2)]),
    ],
)  # fmt: skip
def test_plans_and_profiles(words: str, expected: list[tuple[str, int, int, int, int]]) -> None:
    """Every profile of every plan of the language model is compared, with as many rows as it takes."""
    profile = parse_profile(f"rows=4,capacity=32,{words}", CONFIG)
    build = GraphBuild(0, None, {})
    plans = tuple(
        LanguagePlan(name, f"graphs/{name}.plan", one.plan_entries(), build)
        for name, one in profile.language_plans().items()
    )
    capacities = sorted({plan.capacity for plan in plans})
    engine = SimpleNamespace(manifest=SimpleNamespace(plans=plans, capacities=capacities))
    parts = engine_parity_report._parts(engine, Graph.LANGUAGE_MODEL)  # type: ignore[arg-type]
    assert [(p.name, p.profile, p.new, p.capacity, p.pictures) for p in parts] == expected
    assert [p.file for p in parts] == [plan.file for plan in plans for _ in plan.profiles]


def test_a_miss_is_bisected(
    tiny_bundle: Path, engine: Path, janus_edge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failing graph, its failing outputs and the layer are named; the exit code is parity's."""
    use(Plans(wrong=True), monkeypatch)
    done = janus_edge("parity", tiny_bundle, engine, "--engines")
    assert done.code == 6
    assert "language_model computed with TensorRT misses the tolerance" in done.error
    assert done.out.count("FAIL") == 2
    assert "language_model: first wrong at hidden_states" in done.out


def test_refused(tiny_bundle: Path, engine: Path, janus_edge: Run, tmp_path: Path) -> None:
    """Another bundle, another target, options that would be ignored."""
    cpu = tmp_path / "cpu"
    build_engine(Bundle.open(tiny_bundle), Copying(), cpu)
    assert (
        "--engines compares plans of TensorRT"
        in janus_edge("parity", tiny_bundle, cpu, "--engines").error
    )
    other = Path(shutil.copytree(tiny_bundle, tmp_path / "other"))
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    done = janus_edge("parity", other, engine, "--engines")
    assert done.code == 2
    assert "was built from another bundle" in done.error
    done = janus_edge("parity", tiny_bundle, engine, "--engines", "--steps", "3")
    assert "--steps is not for --engines" in done.error
