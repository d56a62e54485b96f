"""Inputs for comparisons: of the table's shapes, of a real run's size, and always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.engines.parity_feeds import read_feeds, seeded_feeds
from janus_edge.errors import InputError
from janus_edge.graphs import Graph, signature
from tests.unit.runtime.fakes import CONFIG


@pytest.mark.parametrize("graph", Graph)
@pytest.mark.parametrize("float_type", ["float32", "float16"])
def test_inputs_are_the_tables(graph: Graph, float_type: str) -> None:
    """Names, dtypes and fixed dimensions are the table's; one symbol has one size in a call."""
    for feed in seeded_feeds(graph, CONFIG, float_type, pictures=3, capacity=32):
        ports = signature(graph, CONFIG).inputs
        assert list(feed) == [port.name for port in ports]
        sizes: dict[str, set[int]] = {}
        for port in ports:
            array = feed[port.name]
            assert array.dtype == (float_type if port.dtype == "float" else port.dtype)
            for dim, size in zip(port.shape, array.shape, strict=True):
                sizes.setdefault(str(dim), set()).add(size)
                assert dim in (size, str(dim))
        assert all(len(found) == 1 for found in sizes.values())
        if "2P" in sizes:
            assert sizes["2P"] == {6}


def test_values_are_a_runs() -> None:
    """Codes are the codebook's, pixels in range, new tokens fit behind every past."""
    codes = seeded_feeds(Graph.VQ_DECODER, CONFIG, "float32", pictures=50)[0]["image_codes"]
    assert codes.min() >= 0
    assert codes.max() < CONFIG.vq.codebook_size
    pixels = seeded_feeds(Graph.VISION_ENCODER, CONFIG, "float32")[0]["pixel_values"]
    assert np.abs(pixels).max() <= 1
    feeds = seeded_feeds(
        Graph.LANGUAGE_MODEL, CONFIG, "float32", pictures=8, new_tokens=(60, 1), capacity=64
    )
    assert [feed["inputs_embeds"].shape[1] for feed in feeds] == [60, 1]
    assert feeds[0]["past_lengths"].max() <= 4
    assert len(set(feeds[1]["past_lengths"].tolist())) > 1


def test_the_same_again() -> None:
    """A seed gives the same inputs, another seed others, and another graph others."""

    def draw(graph: Graph, seed: int) -> np.ndarray:
        return seeded_feeds(graph, CONFIG, "float32", seed=seed)[0]["hidden_states"]

    first = draw(Graph.TEXT_HEAD, 3)
    np.testing.assert_array_equal(first, draw(Graph.TEXT_HEAD, 3))
    assert (first != draw(Graph.TEXT_HEAD, 4)).any()
    assert (first != draw(Graph.IMAGE_HEAD, 3)).any()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"float_type": "bfloat16"}, "numpy has no bfloat16"),
        ({"pictures": 0}, "give at least 1"),
        ({"new_tokens": (65,), "capacity": 64}, "no more tokens than the capacity"),
    ],
)
def test_what_cannot_be_drawn(options: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        seeded_feeds(Graph.LANGUAGE_MODEL, CONFIG, **{"float_type": "float32", **options})  # type: ignore[arg-type]


def test_recorded_calls(tmp_path: Path) -> None:
    """Calls come back in their order, not in that of their names."""
    path = tmp_path / "feeds.npz"
    np.savez(path, **{f"{call}.a.0": np.full(2, call) for call in (10, 2, 0)})
    feeds = read_feeds(path)
    assert [feed["a.0"][0] for feed in feeds] == [0, 2, 10]


def test_what_was_not_recorded(tmp_path: Path) -> None:
    """Each is an error that names the file: none, no archive, no calls, a pickled array."""
    missing, text, empty, pickled = (tmp_path / f"{n}.npz" for n in "abcd")
    text.write_text("no archive")
    np.savez(empty)
    np.savez(pickled, **{"0.a": np.array([{}], object)})
    for path in (missing, text, empty, pickled):
        with pytest.raises(InputError, match=path.name):
            read_feeds(path)
