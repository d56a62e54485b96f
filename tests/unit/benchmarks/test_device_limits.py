"""The limits of devices are computed from dimensions, equal a bundle's, and match the documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.device_limits import DEVICES, GRAPHS, digits, limits, markdown, step_bytes
from janus_edge.bench.weight_bytes import weight_bytes
from janus_edge.bundle import Bundle

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("model", "precision", "gigabytes", "orin_nano_super", "h200"),
    [
        ("1b", "fp16", 2.67, 26.1, 0.56),
        ("1b", "int8", 1.44, 14.1, 0.30),
        ("1b", "int4-weight, blocks of 128", 0.84, 8.2, 0.18),
        ("7b", "fp16", 12.63, 123, 2.63),
        ("7b", "int8", 6.56, 64.1, 1.37),
        ("7b", "int4-weight, blocks of 128", 3.62, 35.4, 0.75),
    ],
)
def test_figures(
    model: str, precision: str, gigabytes: float, orin_nano_super: float, h200: float
) -> None:
    """The limits equal those once computed by hand, to their digits."""
    row = limits()[model][precision]
    assert row["GB"] == pytest.approx(gigabytes, rel=0.003)
    assert row["Orin NX, Nano Super"] == pytest.approx(orin_nano_super, rel=0.005)
    assert row["H200"] == pytest.approx(h200, abs=0.006)


def test_a_real_bundle(tiny_bundle: Path) -> None:
    """The weights and the rows of tables are those in the bundle's ONNX files."""
    bundle = Bundle.open(tiny_bundle)
    config, recipe = bundle.manifest.config, bundle.manifest.recipe
    computed = step_bytes(config, recipe, 2, 10)
    found = [weight_bytes(bundle, graph) for graph in GRAPHS]
    whole = sum(sum(graph.whole.values()) for graph in found)
    assert computed["weights"] == pytest.approx(whole, rel=0.01)
    assert computed["tables"] == 2 * sum(graph.row for graph in found)
    language = config.language
    position = 2 * language.layers * language.kv_heads * language.head_dim * recipe.bytes_per_cached
    assert computed["cache"] == 2 * 11 * position


def test_the_documents() -> None:
    """docs/jetson.md and the committed result are what the script writes."""
    assert markdown(limits()) in (ROOT / "docs" / "jetson.md").read_text("utf-8")
    result = json.loads((ROOT / "benchmarks/results/device-limits.json").read_text("utf-8"))
    assert result["gigabytes_per_second"] == DEVICES
    for model, recipes in limits().items():
        for name, row in recipes.items():
            assert result["milliseconds"][model][name] == pytest.approx(row)


def test_digits() -> None:
    assert [digits(v) for v in (0.557, 5.28, 39.26, 123.4)] == ["0.557", "5.28", "39.3", "123"]
