"""The rows that a call wrote are taken from the cache that the canonical graph returns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.engines.new_rows import as_returned
from janus_edge.engines.polygraphy_parity import compare_plan
from janus_edge.errors import EngineError

FEED = {"inputs_embeds": np.zeros((2, 3, 8)), "past_lengths": np.array([4, 0])}
PRESENT = np.arange(2 * 2 * 9 * 5).reshape(2, 2, 9, 5)


def test_rows_of_each_length() -> None:
    """Each row gives its own positions, under the plan's names in their order; other outputs stay."""
    outputs = {"hidden_states": np.ones(3), "present_key.0": PRESENT, "present_value.0": -PRESENT}
    found = as_returned(outputs, FEED, ["new_value.0", "hidden_states", "new_key.0"])
    assert [*found] == ["new_value.0", "hidden_states", "new_key.0"]
    for row, start in enumerate([4, 0]):
        expected = PRESENT[row, :, start : start + 3]
        np.testing.assert_array_equal(found["new_key.0"][row], expected)
        np.testing.assert_array_equal(found["new_value.0"][row], -expected)


def test_plans_that_return_the_cache() -> None:
    outputs = {"present_key.0": PRESENT}
    assert as_returned(outputs, FEED, ["present_key.0"]) is outputs


class Runners:
    """A reference that returns the cache, and a plan that returns new rows off by ``error``."""

    def __init__(self, name: str = "new_key.0", error: float = 0.0) -> None:
        self.name, self.error = name, error

    def reference(self, *_: object) -> list[dict[str, np.ndarray]]:
        return [{"present_key.0": PRESENT.astype(np.float32)}]

    def plan(self, *_: object) -> list[dict[str, np.ndarray]]:
        rows = np.stack([PRESENT[0, :, 4:7], PRESENT[1, :, 0:3]]).astype(np.float32)
        return [{self.name: rows + np.float32(self.error)}]

    def built(self, *_: object) -> list[dict[str, np.ndarray]]:
        raise NotImplementedError


def test_such_plans_are_compared() -> None:
    """Equal rows pass, unequal rows fail, and rows of a layer that the graph lacks are an error."""
    graph = Path("language_model.onnx")
    assert compare_plan(Runners(), graph, graph, [FEED], "float32")
    assert not compare_plan(Runners(error=5.0), graph, graph, [FEED], "float32")
    with pytest.raises(EngineError, match=r"one returns new_key\.1 and the other "):
        compare_plan(Runners("new_key.1"), graph, graph, [FEED], "float32")
