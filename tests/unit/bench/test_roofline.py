"""Bytes of a step over a bandwidth."""

from __future__ import annotations

import pytest

from janus_edge.bench.bandwidth import Bandwidth
from janus_edge.bench.recorder import Binding
from janus_edge.bench.roofline import roofline
from janus_edge.bench.weight_bytes import WeightBytes
from tests.unit.bench.reports import spread

WEIGHTS = {
    "language_model": WeightBytes({"int4": 1_000_000, "float16": 50_000}, 10),
    "image_head": WeightBytes({"float16": 200_000}, 0),
    "image_embedding": WeightBytes({}, 4096),
}
STEP = {"language_model": spread(100e-6), "image_head": spread(40e-6), "step": spread(200e-6)}
BANDWIDTH = Bandwidth(10e9, "memchr", 2, 1 << 28, 24)
BINDING = Binding(rows=6, new=1, capacity=640, position_bytes=2000)


def test_limits() -> None:
    """Weights, the cache with the new position, a table's row for each row or picture."""
    found = roofline(WEIGHTS, BINDING, 3, 99, STEP, BANDWIDTH, cache_bytes=1)
    language = found.limits["language_model"]
    assert (language.traffic.cache, language.traffic.rows) == (200_000, 60)
    assert language.seconds == pytest.approx(1_250_060 / 10e9)
    assert language.share == pytest.approx(1_250_060 / 10e9 / 100e-6)
    step = found.limits["step"]
    assert step.traffic.weights == {"int4": 1_000_000, "float16": 250_000}
    assert step.traffic.total == 1_250_060 + 200_000 + 3 * 4096
    assert step.share == pytest.approx(step.traffic.total / 10e9 / 200e-6)
    assert "image_embedding" not in found.limits, "was not measured"
    assert found.note == ""


def test_limits_of_a_pass() -> None:
    """Weights are read once; the cache has all new positions, tables a row for each."""
    binding = Binding(rows=6, new=4, capacity=640, position_bytes=2000)
    one, four = (roofline(WEIGHTS, b, 3, 99, STEP, BANDWIDTH, 1).limits for b in (BINDING, binding))
    assert four["step"].traffic.weights == one["step"].traffic.weights
    assert four["step"].traffic.cache == 2000 * 103
    assert four["step"].traffic.rows == 4 * one["step"].traffic.rows


def test_a_step_that_fits_the_cache_says_so() -> None:
    found = roofline(WEIGHTS, BINDING, 3, 99, STEP, BANDWIDTH, cache_bytes=2 << 20)
    assert "a step reads 1.4 MiB, which the processor's last cache (2 MiB) holds" in found.note


def test_notable_parts() -> None:
    """A sampler's few bytes are in the report, and in no table."""
    weights = {**WEIGHTS, "guided_sampler": WeightBytes({"int64": 24}, 0)}
    step = {**STEP, "guided_sampler": spread(1e-5)}
    found = roofline(weights, BINDING, 3, 99, step, BANDWIDTH, cache_bytes=1)
    assert "guided_sampler" in found.limits
    assert [*found.notable()] == ["language_model", "image_head", "step"]
