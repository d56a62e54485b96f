"""The reference for parsed networks agrees with ONNX Runtime's own float16, within its rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph
from tests.tensorrt_network.data_types import Array
from tests.tensorrt_network.reference import Reference, session


def images(bundle: Bundle) -> dict[str, Array]:
    size = bundle.manifest.config.image_size
    values = np.random.default_rng(0).normal(size=(2, 3, size, size))
    return {"pixel_values": values.astype(np.float16).astype(np.float32)}


def test_float16(half_bundle: Path) -> None:
    """Rounding after each operator differs from leaving some of it out by a few of 2^11 steps."""
    bundle = Bundle.open(half_bundle)
    path, feeds = bundle.graph(Graph.VISION_ENCODER), images(bundle)
    found = Reference(path).run(feeds)["image_embeds"]
    half = {name: value.astype(np.float16) for name, value in feeds.items()}
    wanted = session(onnx.load(str(path))).run(["image_embeds"], half)[0].astype(np.float32)
    apart = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert apart < 4 * 2**-11


@pytest.mark.parametrize("float_type", ["float16", "float32"])
def test_every_output_is_rounded(half_bundle: Path, tiny_bundle: Path, float_type: str) -> None:
    """Each tensor of a 16-bit graph has only numbers of its type; float32 is not changed."""
    bundle = Bundle.open(half_bundle if float_type == "float16" else tiny_bundle)
    found = Reference(bundle.graph(Graph.VISION_ENCODER)).run(images(bundle))
    floats = [value for value in found.values() if value.dtype == np.float32]
    assert len(floats) > 50
    rounded = [bool((value == value.astype(np.float16)).all()) for value in floats]
    assert all(rounded) if float_type == "float16" else not all(rounded)
