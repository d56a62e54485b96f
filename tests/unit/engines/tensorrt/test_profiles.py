"""Profiles: shapes follow from the graph table, and what cannot be built says why."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from janus_edge.engine_manifest import Profile as ManifestProfile
from janus_edge.engine_manifest import Range
from janus_edge.engines.tensorrt.profiles import Profile, fixed_sizes, optimization_profiles
from janus_edge.errors import InputError
from janus_edge.graphs import Graph, signature
from janus_edge.schema import from_dict, to_dict
from tests.unit.runtime.fakes import CONFIG

MOST = CONFIG.language.max_positions
PROFILE = Profile(Range(1, 2, 8), Range(1, 4, 8), 16, Range(1, 1, 4), Range(1, 2, 3))


def test_language_model_has_two() -> None:
    """Prefill, then decode; the cache's length is one number in both."""
    prefill, decode = optimization_profiles(Graph.LANGUAGE_MODEL, CONFIG, PROFILE)
    hidden = CONFIG.language.hidden_size
    assert prefill["inputs_embeds"] == ((1, 1, hidden), (2, 4, hidden), (8, 8, hidden))
    assert decode["inputs_embeds"] == ((1, 1, hidden), (2, 1, hidden), (8, 1, hidden))
    assert prefill["past_lengths"] == decode["past_lengths"] == ((1,), (2,), (8,))
    kv_heads, size = CONFIG.language.kv_heads, CONFIG.language.head_dim
    shapes = tuple((rows, kv_heads, 16, size) for rows in (1, 2, 8))
    assert prefill["past_key.0"] == decode["past_value.0"] == shapes
    assert fixed_sizes(Graph.LANGUAGE_MODEL, PROFILE) == {"C": 16}


@pytest.mark.parametrize("graph", [g for g in Graph if g is not Graph.LANGUAGE_MODEL])
def test_others_have_one(graph: Graph) -> None:
    """Every input with a symbol has shapes, and no other."""
    (shapes,) = optimization_profiles(graph, CONFIG, PROFILE)
    inputs = signature(graph, CONFIG).inputs
    assert set(shapes) == {p.name for p in inputs if any(isinstance(d, str) for d in p.shape)}
    assert not fixed_sizes(graph, PROFILE)


@pytest.mark.parametrize(
    ("graph", "name", "batches"),
    [
        (Graph.GUIDED_SAMPLER, "logits", (2, 2, 8)),
        (Graph.GUIDED_SAMPLER, "noise", (1, 1, 4)),
        (Graph.IMAGE_EMBEDDING, "image_codes", (1, 1, 4)),
        (Graph.IMAGE_HEAD, "hidden_states", (1, 2, 8)),
        (Graph.TEXT_HEAD, "hidden_states", (1, 2, 8)),
        (Graph.VQ_DECODER, "image_codes", (1, 2, 3)),
        (Graph.VISION_ENCODER, "pixel_values", (1, 2, 3)),
        (Graph.VQ_ENCODER, "pixel_values", (1, 2, 3)),
    ],
)
def test_batches(graph: Graph, name: str, batches: tuple[int, int, int]) -> None:
    """Heads run per row, steps of painting per picture, encoders and the decoder per image."""
    (shapes,) = optimization_profiles(graph, CONFIG, PROFILE)
    assert tuple(shape[0] for shape in shapes[name]) == batches


def test_manifest_entries() -> None:
    """A manifest tells both profiles of the language model."""
    capacity = Range(16, 16, 16)
    assert PROFILE.manifest_entries() == (
        ManifestProfile(Range(1, 2, 8), Range(1, 4, 8), capacity),
        ManifestProfile(Range(1, 2, 8), Range(1, 1, 1), capacity),
    )


def test_window() -> None:
    """Parallel decoding has a profile between the others, in one engine; the graphs around the
    language model take its positions as rows."""
    wide = replace(PROFILE, window=Range(1, 4, 6))
    found = optimization_profiles(Graph.LANGUAGE_MODEL, CONFIG, wide)
    assert [tuple(s[1] for s in p["inputs_embeds"]) for p in found] == [
        (1, 4, 8), (1, 4, 6), (1, 1, 1),
    ]  # fmt: skip
    assert [entry.new_tokens.largest for entry in wide.manifest_entries()] == [8, 6, 1]
    for graph, name, sizes in (
        (Graph.IMAGE_HEAD, "hidden_states", (1, 2, 48)),
        (Graph.IMAGE_EMBEDDING, "image_codes", (1, 1, 24)),
        (Graph.GUIDED_SAMPLER, "logits", (2, 2, 48)),
        (Graph.TEXT_HEAD, "hidden_states", (1, 2, 8)),
    ):
        (shapes,) = optimization_profiles(graph, CONFIG, wide)
        assert tuple(shape[0] for shape in shapes[name]) == sizes


@pytest.mark.parametrize("split", [False, True])
def test_as_json(split: bool) -> None:
    """The purpose of each plan can be passed to another process that builds it."""
    made = replace(PROFILE, chat=32, split=split, window=Range(1, 4, 6))
    for one in (made, *made.language_plans().values()):
        assert from_dict(Profile, json.loads(json.dumps(to_dict(one))), error=ValueError) == one


def test_default() -> None:
    """Two rows per picture; a prefill may fill the cache, which is within the model's positions."""
    made = Profile.of(CONFIG, pictures=Range(1, 2, 4))
    assert made.rows == Range(1, 4, 8)
    assert made.capacity == made.prefill.largest == 128  # 64 + 16 in whole blocks
    assert made.chat == 0  # 64 + 2 * 16 are fewer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity": 0}, f"from 1 to {MOST}, the model's positions; found 0"),
        ({"capacity": MOST + 1}, f"found {MOST + 1}"),
        ({"prefill": Range(1, 4, 17)}, "a prefill of 17 tokens does not fit a cache of 16"),
        ({"window": Range(1, 4, 17)}, "a window of 17 codes does not fit a cache of 16 positions"),
        ({"pictures": Range(1, 1, 5)}, "5 pictures take 10 rows under guidance, and the .* has 8"),
    ],
)
def test_impossible(changes: dict[str, object], message: str) -> None:
    """An error that names both numbers, before anything is built."""
    with pytest.raises(InputError, match=message):
        optimization_profiles(Graph.TEXT_HEAD, CONFIG, replace(PROFILE, **changes))  # type: ignore[arg-type]


def test_default_capacity_is_checked() -> None:
    with pytest.raises(InputError, match="at least 1, found 0"):
        Profile.of(CONFIG, capacity=0)


def test_ranges_are_ordered() -> None:
    """Smallest <= typical <= largest."""
    with pytest.raises(ValueError, match="smallest <= typical <= largest"):
        Profile.of(CONFIG, pictures=Range(2, 1, 4))
