"""More rows than a plan was built for: the same results, in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.errors import BackendError
from janus_edge.graphs import Graph, signature
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from tests.unit.runtime.fakes import CONFIG, FakeBackend
from tests.unit.runtime.tensorrt.engines import Machine, counting_engine, install


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch)


def arrays(some: Any, rows: int) -> dict[str, np.ndarray]:
    """Random values for ports of a graph with ``rows`` rows or pictures."""
    sizes, random = {"N": rows, "P": rows, "2P": 2 * rows}, np.random.default_rng(rows)
    kinds = {"int64": np.int64, "float": np.float32, "float32": np.float32}
    return {
        p.name: random.integers(1, 9, [sizes.get(d, d) for d in p.shape]).astype(kinds[p.dtype])
        for p in some
    }


@pytest.mark.parametrize("rows", [1, 4, 5, 8, 9, 17])
@pytest.mark.parametrize(
    "graph",
    [Graph.TEXT_HEAD, Graph.IMAGE_HEAD, Graph.IMAGE_EMBEDDING, Graph.GUIDED_SAMPLER,
     Graph.VISION_ENCODER],
)  # fmt: skip
def test_the_same_in_batches(tmp_path: Path, machine: Machine, graph: Graph, rows: int) -> None:
    """Engines of 8 rows, 4 pictures and 1 image give what one call gives, again at a second call
    with other values; both halves of guidance stay where they belong."""
    ports = signature(graph, CONFIG)
    inputs, ours, theirs = (arrays(p, rows) for p in (ports.inputs, ports.outputs, ports.outputs))
    call = TensorRTBackend(counting_engine(tmp_path)).session(graph).bind(inputs, ours)
    expected = FakeBackend().session(graph).bind(inputs, theirs)
    for _ in range(2):
        call()
        expected()
        for name, array in theirs.items():
            np.testing.assert_array_equal(ours[name], array)
        for array in inputs.values():
            array[...] = array[::-1].copy() if array.ndim else array + 1
    most = {Graph.VISION_ENCODER: 1, Graph.TEXT_HEAD: 8, Graph.IMAGE_HEAD: 8}.get(graph, 4)
    assert len(machine.behaviour.runs) == 2 * -(-rows // most)


def test_rows_that_differ(tmp_path: Path, machine: Machine) -> None:
    """Batches of arrays of different lengths would leave rows out: an error that tells them."""
    ports = signature(Graph.GUIDED_SAMPLER, CONFIG)
    inputs, outputs = arrays(ports.inputs, 9), arrays(ports.outputs, 9)
    session = TensorRTBackend(counting_engine(tmp_path)).session(Graph.GUIDED_SAMPLER)
    inputs["noise"] = inputs["noise"][:8].copy()
    with pytest.raises(BackendError, match="logits has 9, noise has 8, image_codes has 9"):
        session.bind(inputs, outputs)
