"""Engines whose language model keeps a part of its weights off the GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.errors import BackendError
from janus_edge.graphs import Graph
from janus_edge.runtime.image_decoding import ImageRequest
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from tests.unit.runtime.fakes import CONFIG
from tests.unit.runtime.tensorrt.engines import Machine, counting_engine, install


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch)


def opened(tmp_path: Path, budget: str | None) -> TensorRTBackend:
    options = {} if budget is None else {"weight-streaming": budget}
    return TensorRTBackend(counting_engine(tmp_path, options=options))


@pytest.mark.parametrize(
    ("budget", "kept"), [("100", 100), ("0", 0), ("600", 600), ("9000", 600), ("auto", 300)]
)
def test_budgets(tmp_path: Path, machine: Machine, budget: str, kept: int) -> None:
    """Set for the language model alone, before it has a context; at most what it has."""
    backend = opened(tmp_path, budget)
    for graph in Graph:
        assert backend.plan(graph).streamed_bytes == (
            600 - kept if graph is Graph.LANGUAGE_MODEL else 0
        )
    assert machine.behaviour.budgets == {"language_model": kept}


def test_without_it(tmp_path: Path, machine: Machine) -> None:
    backend = opened(tmp_path, None)
    assert backend.plan(Graph.LANGUAGE_MODEL).streamed_bytes == 0
    assert machine.behaviour.budgets == {}


def test_a_budget_that_is_not_taken(tmp_path: Path, machine: Machine) -> None:
    """TensorRT only logs it: the engine is not run with more memory than was allowed."""
    machine.behaviour.fail["weight_streaming_budget_v2"] = "the budget is odd"
    backend = opened(tmp_path, "100")
    with pytest.raises(BackendError, match=r"a budget of 100 bytes .* \(the budget is odd\)"):
        backend.plan(Graph.LANGUAGE_MODEL)


@pytest.mark.parametrize("budget", ["100", "600"])
def test_painting(tmp_path: Path, machine: Machine, budget: str) -> None:
    """The codes are the same; steps are not captured, since streaming allocates memory."""
    rows = (
        np.random.default_rng(0).integers(0, 99, (2, 4, CONFIG.language.hidden_size)).astype("f4")
    )
    request = ImageRequest([(rows[0], rows[1])], [0], [1], [0], 3.0, 1.0)
    found = [
        [code.tolist() for code in opened(tmp_path / name, size).image_codes(CONFIG, request)]
        for name, size in (("plain", None), ("streamed", budget))
        if (tmp_path / name).mkdir() is None
    ]
    assert found[0] == found[1]
    assert machine.driver.calls["cuGraphInstantiateWithFlags"] == 1
