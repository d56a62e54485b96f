"""The memory plan against what a request really allocates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from janus_edge.errors import CapacityError
from janus_edge.graphs import Graph
from janus_edge.recipe import RECIPES
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest
from janus_edge.runtime.memory import MemoryItem, MemoryPlan, chat_plan, generation_plan
from tests.unit.runtime.fakes import CONFIG, FakeBackend, fake_janus

SIZES = {graph: 1000 + 10 * index for index, graph in enumerate(Graph)}


def bundle(precision: str) -> Any:
    return SimpleNamespace(
        manifest=SimpleNamespace(config=CONFIG, recipe=RECIPES[precision]),
        graph_bytes=SIZES.__getitem__,
    )


def parts(plan: MemoryPlan) -> dict[str, int]:
    return {item.what.split(",")[0]: item.nbytes for item in plan.items}


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", np.float32), ("fp16", np.float16)])
@pytest.mark.parametrize("prompt_of", [[0, 1], [0, 0, 0, 1, 1, 1]])
def test_generation_plan_is_what_is_allocated(
    precision: str, dtype: type, prompt_of: list[int]
) -> None:
    """Cache, logits and noise have the bytes of the buffers that the decoder then binds."""
    lengths, pictures = (5, 130), len(prompt_of)
    rows = [(np.ones((n, CONFIG.language.hidden_size)),) * 2 for n in lengths]
    backend = FakeBackend(dtype)
    ImageDecoder(CONFIG, backend, ImageRequest(rows, prompt_of, prompt_of, prompt_of, 5.0, 1.0))
    plan = parts(generation_plan(bundle(precision), lengths, pictures))
    inputs = backend.session(Graph.LANGUAGE_MODEL).last[0]
    cache = [array for name, array in inputs.items() if name.startswith("past_") and array.ndim > 1]
    assert plan["KV cache"] == sum(array.nbytes for array in cache)
    sampler = backend.session(Graph.GUIDED_SAMPLER).last[0]
    assert plan["logits"] == sampler["logits"].nbytes
    assert plan["noise"] == sampler["noise"].nbytes


def test_only_the_graphs_that_are_used() -> None:
    """Painting loads neither the vision encoder nor the text head; answering none of the painter's."""

    def graphs(plan: MemoryPlan) -> set[str]:
        return {name.removeprefix("weights of ") for name in parts(plan) if "weights" in name}

    painting = generation_plan(bundle("fp32"), [5], 1)
    assert graphs(painting) == {
        "language_model", "image_head", "image_embedding", "guided_sampler", "vq_decoder"
    }  # fmt: skip
    answering = chat_plan(bundle("fp32"), 64)
    assert graphs(answering) == {"vision_encoder", "language_model", "text_head"}
    assert parts(answering)["weights of text_head"] == SIZES[Graph.TEXT_HEAD]


def test_chat_plan_is_what_is_allocated(tmp_path: Path) -> None:
    """Cache and logits of a conversation have the bytes of the buffers that are bound."""
    backend = FakeBackend()
    janus = fake_janus(tmp_path, backend)
    janus.chat(capacity=320).ask("a", max_new_tokens=2)
    plan = parts(chat_plan(bundle("fp32"), 320))
    inputs = backend.session(Graph.LANGUAGE_MODEL).last[0]
    cache = [array for name, array in inputs.items() if name.startswith("past_") and array.ndim > 1]
    assert plan["KV cache"] == sum(array.nbytes for array in cache)
    assert plan["logits"] == backend.session(Graph.TEXT_HEAD).last[1]["logits"].nbytes


def test_too_long_a_prompt() -> None:
    """A prompt beyond the model's positions has no plan."""
    with pytest.raises(CapacityError, match="has 1024"):
        generation_plan(bundle("fp32"), [CONFIG.language.max_positions], 1)


def test_total_and_table() -> None:
    """The total is the sum, and the text has a line for each part and one for the total in MiB."""
    plan = MemoryPlan((MemoryItem("a", 3 << 20), MemoryItem("b", 1 << 19)))
    assert plan.total == (3 << 20) + (1 << 19)
    lines = str(plan).splitlines()
    assert [line.split() for line in lines] == [
        ["a", "3.0", "MiB"], ["b", "0.5", "MiB"], ["total", "3.5", "MiB"]
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1
