"""Memory budgets: their parts are the bundle's or the engine's, and what machines have left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from janus_edge.bundle import Bundle
from janus_edge.engine import Engine
from janus_edge.engine_manifest import GraphBuild, LanguagePlan, Profile, Range
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.recipe import RECIPES
from janus_edge.runtime.memory import chat_plan, generation_plan
from janus_edge.runtime.memory_budget import (
    CUDA_CONTEXT,
    GIB,
    MACHINES,
    USES,
    Budget,
    ModelBytes,
    budgets,
    system_bytes,
)
from janus_edge.runtime.scratch_estimate import scratch_bytes
from tests.unit.runtime.fakes import CONFIG


def parts(budget: Budget) -> dict[str, int]:
    return {item.what: item.nbytes for item in budget.items}


def planned(model: ModelBytes, **options: Any) -> dict[str, Budget]:
    return {budget.use: budget for budget in budgets(model, **options)}


def plan(capacity: int, build: GraphBuild, name: str = "lm", least: int = 1) -> LanguagePlan:
    sizes = Profile(Range(least, 8, 8), Range(1, 1, 1), Range(capacity, capacity, capacity))
    return LanguagePlan(name, "t", (sizes,), build)


def engine(
    stated: dict[Graph, int],
    capacities: tuple[int, ...] = (),
    target: str = "tensorrt",
    split: bool = False,
    profiles: tuple[Profile, ...] = (),
) -> Engine:
    """An engine whose builder stated scratch memory for some graphs, and 10 bytes of weights each."""
    said = GraphBuild(10, stated.get(Graph.LANGUAGE_MODEL), {})
    plans = [plan(one, said, name) for one in capacities for name in ("lm", "decode")[: 1 + split]]
    made = Engine.__new__(Engine)
    made.manifest = SimpleNamespace(  # type: ignore[assignment]
        target=target, config=CONFIG, recipe=RECIPES["fp16"], capacities=capacities, split=split,
        profiles=profiles, plans=tuple(plans), files={"t": SimpleNamespace(size=7)}, text_embeddings=SimpleNamespace(file="t"),
        graphs={g.value: SimpleNamespace(file="t", weights=()) for g in Graph},
        builds={
            g.value: GraphBuild(10, stated.get(g), {}) for g in Graph
        },
    )  # fmt: skip
    return made


def test_a_bundle_has_what_its_requests_plan(tiny_bundle: Path) -> None:
    """Weights, cache and logits are those of the plans that the runtime makes for a request."""
    bundle = Bundle.open(tiny_bundle)
    uses = planned(ModelBytes.of(bundle))
    request = {
        item.what.split(",")[0]: item.nbytes for item in generation_plan(bundle, [64], 1).items
    }
    painting = parts(uses["painting"])
    assert painting.pop("logits and noise") == request.pop("logits") + request.pop("noise")
    assert painting.pop("scratch") > 0
    assert painting.pop("CUDA context (estimate)") == CUDA_CONTEXT
    assert painting == request
    answering = parts(uses["answering"])
    chat = chat_plan(bundle, uses["answering"].capacity)
    assert sum(answering.values()) - answering["scratch"] - CUDA_CONTEXT == chat.total


def test_dimensions_stand_for_a_bundle(tiny_bundle: Path) -> None:
    """A bundle's budget differs from its dimensions' by the structure of its graphs alone."""
    bundle = Bundle.open(tiny_bundle)
    manifest = bundle.manifest
    real, computed = (
        ModelBytes.of(bundle),
        ModelBytes.of_dimensions(manifest.config, manifest.recipe),
    )
    assert real.text_embeddings == computed.text_embeddings
    for a, b in zip(budgets(real), budgets(computed), strict=True):
        weights = [name for name in parts(a) if name.startswith("weights")]
        assert {n: s for n, s in parts(a).items() if n not in weights} == {
            n: s for n, s in parts(b).items() if n not in weights
        }
        assert 0 < a.total - b.total < 200_000  # 400 weights, less than 500 bytes each


def test_everything_has_one_cache() -> None:
    """All graphs are open, and the cache is the larger of painting's and answering's."""
    uses = planned(ModelBytes.of_dimensions(CONFIG, RECIPES["fp32"]), rows=8, capacity=100)
    assert uses["everything"].rows == 8
    assert parts(uses["everything"])["KV cache"] == parts(uses["painting"])["KV cache"]
    assert parts(uses["painting"])["KV cache"] == 8 * parts(uses["answering"])["KV cache"]
    assert set(USES["everything"]) == set(Graph)
    uses = planned(ModelBytes.of_dimensions(CONFIG, RECIPES["fp32"]), rows=1)
    assert uses["everything"].capacity == max(uses["painting"].capacity, uses["answering"].capacity)


def test_an_engine_says_its_scratch_and_capacity() -> None:
    """The builder's figure overrides the estimate, and a plan's capacity overrides any other."""
    model = ModelBytes.of(engine({graph: 5_000_000 + i for i, graph in enumerate(Graph)}, (192,)))
    assert model.scratch[Graph.VISION_ENCODER] == 5_000_000
    uses = planned(model)
    assert {budget.capacity for budget in uses.values()} == {192}
    graphs = list(Graph)
    for use, budget in uses.items():
        largest = max(graphs.index(graph) for graph in USES[use])
        assert parts(budget)["scratch"] == 5_000_000 + largest
    assert planned(model, capacity=192) == uses
    with pytest.raises(InputError, match="built for capacity 192, not 64"):
        budgets(model, capacity=64)


@pytest.mark.parametrize(("longest", "tokens"), [(64, 64), (192, 192), (1000, 512)])
def test_an_engine_that_returns_new_rows(longest: int, tokens: int) -> None:
    """New rows of a prefill's longest piece lie beside the cache; other targets have none."""
    decode, capacity = Range(1, 1, 1), Range(1024, 1024, 1024)
    profiles = tuple(
        Profile(Range(1, 2, 4), new, capacity) for new in (Range(1, 8, longest), decode)
    )
    found, plain = (
        planned(ModelBytes.of(engine({}, (1024,), target, profiles=profiles)), rows=4)
        for target in ("tensorrt-10.3", "tensorrt")
    )
    for use, budget in found.items():
        expected = parts(budget)["KV cache"] * tokens // 1024
        assert parts(budget).pop("new keys and values of a prefill") == expected
        assert budget.total - expected == plain[use].total


def test_an_engine_of_several_plans() -> None:
    """Painting uses the smallest plan that takes a picture. Answering uses one that takes an image and an
    answer. Beyond all plans, the largest counts."""
    for capacities, painting, answering in (
        ((128, 256), 128, 128), ((96, 512), 512, 96), ((16, 32), 32, 32),
    ):  # fmt: skip
        uses = planned(ModelBytes.of(engine({}, capacities)))
        assert (uses["painting"].capacity, uses["answering"].capacity) == (painting, answering)
    with pytest.raises(InputError, match="built for capacity 128 and 256, not 64"):
        budgets(ModelBytes.of(engine({}, (128, 256))), capacity=64)


def test_an_engine_that_is_split() -> None:
    """Prefill and decode each hold the language model's weights once."""
    whole, split = (planned(ModelBytes.of(engine({}, (128,), split=s))) for s in (False, True))
    for use in USES:
        again = {name: n for name, n in parts(split[use]).items() if name not in parts(whole[use])}
        assert again == {"weights of language_model again (split)": 10}


def test_scratch_that_only_some_graphs_state() -> None:
    """Where a builder said nothing, the estimate counts."""
    estimate = scratch_bytes(Graph.VQ_DECODER, CONFIG, 2, 2, 64)
    uses = planned(ModelBytes.of(engine({Graph.LANGUAGE_MODEL: 1})), capacity=64)
    assert parts(uses["painting"])["scratch"] == estimate
    widest = CONFIG.vq.base_channels * CONFIG.image_size**2
    assert estimate == 3 * widest * 2  # three maps in float16


@pytest.mark.parametrize("graph", Graph)
def test_scratch_grows(graph: Graph) -> None:
    """Rows and precision do not shrink it; a longer cache costs the language model scores."""
    small = scratch_bytes(graph, CONFIG, 2, 2, 64)
    assert scratch_bytes(graph, CONFIG, 4, 4, 64) >= small
    longer = scratch_bytes(graph, CONFIG, 2, 2, 1024)
    assert (longer > small) == (graph is Graph.LANGUAGE_MODEL)


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx", "tensorrt-10.3", "ort-cuda"])
def test_what_cuda_takes(target: str) -> None:
    """CUDA's context counts. The page cache of the largest file does not, and is shown beside it."""
    stated = dict.fromkeys(Graph, 100)
    cuda, cpu = (planned(ModelBytes.of(engine(stated, (), t))) for t in (target, "ort-cpu"))
    for use in USES:
        assert cuda[use].total == cpu[use].total + CUDA_CONTEXT
        assert "CUDA context (estimate)" not in parts(cpu[use])
        assert (cuda[use].page_cache, cpu[use].page_cache) == (10, 0)


def test_headroom() -> None:
    """What is left is the memory less the system's share and the parts."""
    budget = planned(ModelBytes.of_dimensions(CONFIG, RECIPES["fp32"]))["painting"]
    assert [system_bytes(memory) / GIB for memory in MACHINES] == [2.0, 2.5, 3.5, 5.5]
    assert budget.headroom(8 * GIB) == 6 * GIB - budget.total
    assert budget.headroom(1 * GIB) < 0


@pytest.mark.parametrize(("rows", "capacity"), [(0, None), (2, 0), (2, 1025)])
def test_sizes_that_cannot_be(rows: int, capacity: int | None) -> None:
    model = ModelBytes.of_dimensions(CONFIG, RECIPES["fp32"])
    with pytest.raises(InputError, match="1024 positions"):
        budgets(model, rows, capacity)


def test_a_model_of_few_positions() -> None:
    """Answering plans no more positions than there are."""
    few = replace(CONFIG, language=replace(CONFIG.language, max_positions=90))
    uses = planned(ModelBytes.of_dimensions(few, RECIPES["fp32"]))
    assert uses["answering"].capacity == 90


def test_each_plan_of_an_engine_has_its_own_bytes() -> None:
    """Scratch and loaded weights are those of the plan that a use's capacity picks; with everything
    open scratch is the most of both, since it is shared and does not shrink."""
    made = engine({}, (96, 128, 256, 512))
    made.manifest.plans = (  # type: ignore[misc]
        plan(128, GraphBuild(10, 5_000_000, {}, device_weight_bytes=12)),
        plan(256, GraphBuild(10, 9_000_000, {}, device_weight_bytes=13)),
    )
    for capacity, scratch, weights in ((128, 5_000_000, 12), (256, 9_000_000, 13)):
        for budget in budgets(ModelBytes.of(made), capacity=capacity):
            assert parts(budget)["scratch"] == scratch
            assert parts(budget)["weights of language_model"] == weights
    made.manifest.plans = tuple(  # type: ignore[misc]
        plan(capacity, GraphBuild(10, scratch, {}))
        for capacity, scratch in ((96, 9_000_000), (512, 5_000_000))
    )
    found = {use: parts(budget)["scratch"] for use, budget in planned(ModelBytes.of(made)).items()}
    assert found == {"painting": 5_000_000, "answering": 9_000_000, "everything": 9_000_000}


def test_split_plans_differ() -> None:
    """Prefill and decode count their own loaded weights, and the larger scratch; a cache has no fewer
    rows than split plans take."""
    made = engine({}, (128,), split=True)
    made.manifest.plans = (  # type: ignore[misc]
        plan(128, GraphBuild(10, 9_000_000, {}, device_weight_bytes=12), "lm", 8),
        plan(128, GraphBuild(10, 5_000_000, {}, device_weight_bytes=13), "decode", 8),
    )
    for budget in budgets(ModelBytes.of(made)):
        found = parts(budget)
        assert (budget.rows, found["scratch"]) == (8, 9_000_000)
        assert found["weights of language_model"] == 12
        assert found["weights of language_model again (split)"] == 13
        assert budget.page_cache == 13


def test_loaded_weights_go_before_a_graphs_constants() -> None:
    """A plan may hold more than the graph; of a builder that does not say, the constants count."""
    made = engine({})
    made.manifest.builds["vq_decoder"] = GraphBuild(10, None, {}, device_weight_bytes=14)
    found = parts(planned(ModelBytes.of(made))["painting"])
    assert (found["weights of vq_decoder"], found["weights of image_head"]) == (14, 10)


def test_more_rows_than_an_engine_takes() -> None:
    """The runtime refuses to paint them, so there is no budget for them."""
    model = ModelBytes.of(engine({}, (128,)))
    assert planned(model, rows=8)["painting"].rows == 8
    with pytest.raises(InputError, match="for 8 rows at most, and 64 are refused .*rows=64"):
        budgets(model, rows=64)
