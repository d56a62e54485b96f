"""The loop that paints: rows, guidance, fan-out and what a step may cost, on the fake model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_edge.errors import CapacityError
from janus_edge.graphs import Graph
from janus_edge.noise import gumbel
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest, image_codes
from tests.unit.runtime.fakes import CONFIG, FakeBackend, code_embeddings, hidden_of, logits

STEPS, H = CONFIG.image_tokens, CONFIG.language.hidden_size
LENGTHS = (7, 70, 3)


def prompt(length: int) -> tuple[np.ndarray, np.ndarray]:
    """A conditional and an unconditional row that differ from those of every other length."""
    generator = np.random.default_rng(length)
    cond, uncond = generator.integers(0, 500, (2, length, H)).astype(np.float32)
    return cond, uncond


def request(
    lengths: Sequence[int],
    prompt_of: Sequence[int],
    seeds: Sequence[int],
    indices: Sequence[int],
    guidance_scale: float = 3.0,
    temperature: float = 1.0,
) -> ImageRequest:
    prompts = [prompt(length) for length in lengths]
    return ImageRequest(prompts, prompt_of, seeds, indices, guidance_scale, temperature)


def drawn(made: ImageRequest, backend: FakeBackend | None = None) -> np.ndarray:
    """All codes, [P, T]."""
    return np.stack(list(image_codes(CONFIG, backend or FakeBackend(), made)), axis=1)


def plain_codes(length: int, seed: int, index: int, scale: float, temperature: float) -> list[int]:
    """The rule itself, for one picture, from the whole row at every step and without a cache."""
    rows, codes = list(prompt(length)), []
    for position in range(STEPS):
        cond, uncond = logits(
            np.stack([hidden_of(row)[-1] for row in rows]), CONFIG.vq.codebook_size
        )
        guided = uncond + np.float32(scale) * (cond - uncond)
        if temperature:
            guided = guided / np.float32(temperature)
            guided = guided + gumbel(seed, index, position, len(guided))
        codes.append(int(guided.argmax()))
        new = code_embeddings(np.array(codes[-1:]))
        rows = [np.concatenate([row, new]) for row in rows]
    return codes


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, len(LENGTHS) - 1), min_size=1, max_size=5),
    st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.data(),
)
def test_codes_are_those_of_the_rule(
    prompt_of: list[int], temperature: float, scale: float, data: st.DataObject
) -> None:
    """In a batch of any pictures of prompts of unequal length, each has the codes that the plain
    rule gives it alone: uncond + g (cond - uncond), over T, plus its own noise, argmax."""
    count = len(prompt_of)
    seeds = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    indices = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    codes = drawn(request(LENGTHS, prompt_of, seeds, indices, scale, temperature))
    for picture, p in enumerate(prompt_of):
        expected = plain_codes(LENGTHS[p], seeds[picture], indices[picture], scale, temperature)
        assert codes[picture].tolist() == expected


def test_noise_and_guidance_count() -> None:
    """The fake is no constant: seed, number, prompt, guidance and temperature all change codes."""
    rows = {
        tuple(plain_codes(*of))
        for of in [(7, 0, 0, 3, 1), (7, 1, 0, 3, 1), (7, 0, 1, 3, 1), (3, 0, 0, 3, 1),
                   (7, 0, 0, 1, 1), (7, 0, 0, 3, 0.3), (7, 0, 0, 3, 0)]
    }  # fmt: skip
    assert len(rows) == 7


def test_rows_are_all_conditional_then_all_unconditional() -> None:
    """Rows of hidden states and logits are [cond 0, cond 1, ..., uncond 0, uncond 1, ...]."""
    backend = FakeBackend()
    decoder = ImageDecoder(CONFIG, backend, request(LENGTHS, [2, 0, 2], [0] * 3, [0, 0, 1]))
    decoder.first()
    order = [prompt(LENGTHS[p])[half] for half in (0, 1) for p in (2, 0, 2)]
    expected = np.stack([hidden_of(row)[-1] for row in order])
    np.testing.assert_array_equal(decoder.hidden_states, expected)
    np.testing.assert_array_equal(decoder.logits, logits(expected, CONFIG.vq.codebook_size))


@pytest.mark.parametrize("prompt_of", [[0, 1, 2], [0, 0, 1, 1, 2, 2], [1], [2, 1, 0]])
def test_one_prefill_whatever_the_pictures(prompt_of: list[int]) -> None:
    """The distinct prompts are prefilled in one call of two rows each; pictures get copies."""
    backend = FakeBackend()
    made = request(LENGTHS, prompt_of, [0] * len(prompt_of), range(len(prompt_of)))
    ImageDecoder(CONFIG, backend, made)
    session = backend.session(Graph.LANGUAGE_MODEL)
    assert session.runs == 1
    assert session.binds == 2
    step_rows = session.last[0]["inputs_embeds"].shape[0]
    assert step_rows == 2 * len(prompt_of)


def test_a_step_binds_and_allocates_nothing() -> None:
    """After the first code no graph is bound again, every buffer stays where it is, each graph
    runs once per step, and past and present are one memory."""
    backend = FakeBackend()
    decoder = ImageDecoder(CONFIG, backend, request(LENGTHS, [0, 2], [0, 0], [0, 1]))
    decoder.first()
    used = [Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.GUIDED_SAMPLER, Graph.IMAGE_EMBEDDING]
    before = {g: (backend.session(g).binds, backend.session(g).runs) for g in used}
    codes, hidden, logit = decoder.codes, decoder.hidden_states, decoder.logits
    for _ in range(5):
        assert decoder.step() is codes
    for graph in used:
        session = backend.session(graph)
        assert (session.binds, session.runs) == (before[graph][0], before[graph][1] + 5)
    assert np.shares_memory(decoder.hidden_states, hidden)
    assert decoder.logits is logit
    inputs, outputs = backend.session(Graph.LANGUAGE_MODEL).last
    for past, present in zip(list(inputs.values())[2:], list(outputs.values())[2:], strict=True):
        assert past is present
    head = backend.session(Graph.IMAGE_HEAD).last
    assert np.shares_memory(head[0]["hidden_states"], outputs["hidden_states"])
    assert backend.session(Graph.GUIDED_SAMPLER).last[0]["logits"] is head[1]["logits"]
    embedding = backend.session(Graph.IMAGE_EMBEDDING).last
    assert (
        embedding[0]["image_codes"] is backend.session(Graph.GUIDED_SAMPLER).last[1]["image_codes"]
    )
    assert embedding[1]["inputs_embeds"] is inputs["inputs_embeds"]


def test_cache_holds_exactly_the_positions_used() -> None:
    """All steps but the last feed a code back, and that fits: a prompt may be as long as leaves
    room for image_tokens - 1 codes, and no longer."""
    longest = CONFIG.language.max_positions - (STEPS - 1)
    backend = FakeBackend()
    assert drawn(request([longest], [0], [0], [0]), backend).shape == (1, STEPS)
    inputs = backend.session(Graph.LANGUAGE_MODEL).last[0]
    assert inputs["past_lengths"].tolist() == [CONFIG.language.max_positions] * 2
    with pytest.raises(CapacityError, match=f"{longest + 1} prompt tokens and {STEPS - 1} new"):
        drawn(request([longest + 1], [0], [0], [0]))


def test_teacher_forcing() -> None:
    """Codes written between steps are what the next step goes on from."""
    made = request([7], [0], [5], [0])
    whole = drawn(made)[0]
    decoder = ImageDecoder(CONFIG, FakeBackend(), made)
    decoder.first()
    for position in range(1, STEPS):
        decoder.codes[0] = whole[position - 1]  # the same codes: nothing may change
        assert decoder.step()[0] == whole[position]
    decoder = ImageDecoder(CONFIG, FakeBackend(), made)
    decoder.first()
    decoder.codes[0] = other = (whole[0] + 1) % CONFIG.vq.codebook_size
    decoder.step()
    row = np.concatenate([prompt(7)[0], code_embeddings(np.array([other]))])
    np.testing.assert_array_equal(decoder.hidden_states[0], hidden_of(row)[-1])


@pytest.mark.parametrize("few", [0, 10**9])
def test_noise_that_is_chosen_or_whole(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """The same codes, whether all noise is computed or what can decide."""
    monkeypatch.setattr("janus_edge.lazy_noise._FEW", few)
    for scale, temperature in ((5.0, 1.0), (1.0, 0.3), (3.0, 50.0)):
        found = drawn(request([7, 9], [0, 1, 1], [3, 4, 5], [0, 2, 1], scale, temperature))
        assert found[0].tolist() == plain_codes(7, 3, 0, scale, temperature)
        assert found[2].tolist() == plain_codes(9, 5, 1, scale, temperature)


def test_temperature_zero_needs_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy takes the argmax of the guided logits, draws no noise, and ignores the seed."""

    def none(*_: object, **__: object) -> None:
        raise AssertionError("noise was drawn")

    for name in ("draw", "draw_all"):
        monkeypatch.setattr(f"janus_edge.runtime.image_decoding.DecidingNoise.{name}", none)
    greedy = drawn(request([7], [0], [0], [0], 5.0, 0.0))
    assert greedy[0].tolist() == plain_codes(7, 0, 0, 5.0, 0.0)
    assert greedy.tolist() == drawn(request([7], [0], [99], [4], 5.0, 0.0)).tolist()


def test_closing_the_generator_stops() -> None:
    """After close() no graph runs; the codes handed out are the caller's own."""
    backend = FakeBackend()
    steps = image_codes(CONFIG, backend, request([7], [0], [0], [0]))
    first = next(steps)
    kept = first.copy()
    next(steps)
    np.testing.assert_array_equal(first, kept)
    runs = backend.session(Graph.LANGUAGE_MODEL).runs
    assert runs == 2  # the prefill and one step
    steps.close()  # type: ignore[attr-defined]
    assert list(steps) == []
    assert backend.session(Graph.LANGUAGE_MODEL).runs == runs


def test_half_precision_buffers() -> None:
    """With a float16 backend all float buffers but noise and the scalars are float16."""
    backend = FakeBackend(np.float16)
    codes = drawn(request([7], [0, 0], [0, 0], [0, 1]), backend)
    assert codes.shape == (2, STEPS)
    inputs = backend.session(Graph.GUIDED_SAMPLER).last[0]
    assert {name: array.dtype for name, array in inputs.items()} == {
        "logits": np.float16,
        "guidance_scale": np.float32,
        "temperature": np.float32,
        "noise": np.float32,
    }
    cache = list(backend.session(Graph.LANGUAGE_MODEL).last[0].values())
    assert {a.dtype for a in cache if a.dtype.kind == "f"} == {np.dtype(np.float16)}
