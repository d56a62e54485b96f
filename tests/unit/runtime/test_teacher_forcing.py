"""One pass over given codes finds what decoding step by step finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from janus_edge.errors import CapacityError, InputError
from janus_edge.graphs import Graph
from janus_edge.noise import gumbel
from janus_edge.runtime import graph_outputs as graph_outputs_module
from janus_edge.runtime.graph_outputs import graph_outputs
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import question_ids, text_to_image_ids, unconditional_ids
from janus_edge.runtime.teacher_forcing import (
    answering_hidden_states,
    forced_logits,
    guided,
    painting_rows,
    text_logits,
)
from tests.unit.runtime.fakes import CONFIG, FakeBackend, code_embeddings, fake_janus, hidden_of
from tests.unit.runtime.fakes import logits as fake_logits

PROMPTS = ("a cat", "a small red house that stands beside a lake, with mountains behind it", "")


@pytest.fixture(scope="module")
def janus(tiny_bundle: Path) -> Iterator[Janus]:
    with Janus.load(tiny_bundle, threads=1) as opened:
        yield opened


def codes_of(janus: Janus, count: int, seed: int = 0) -> np.ndarray:
    size = janus.bundle.manifest.config.vq.codebook_size
    return np.random.default_rng(seed).integers(0, size, count)


def stepped_logits(janus: Janus, prompt: str, codes: np.ndarray) -> np.ndarray:
    """Logits [T, 2, K] of the decoder that paints, which is given these codes one by one."""
    ids = text_to_image_ids(janus.tokenizer, prompt)
    rows = (ids, unconditional_ids(ids, janus.tokenizer.special))
    embeds = (janus.text_embeddings(rows[0]), janus.text_embeddings(rows[1]))
    request = ImageRequest([embeds], [0], [0], [0], 5.0, 1.0)
    decoder, found = ImageDecoder(janus.bundle.manifest.config, janus.backend, request), []
    for position in range(len(codes)):
        _ = decoder.step() if position else decoder.first()
        found.append(decoder.logits.copy())
        decoder.codes[0] = codes[position]
    return np.stack(found)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("count", [1, 2, 16])
def test_equal_to_step_by_step(janus: Janus, prompt: str, count: int) -> None:
    """All positions' logits, of both rows, are those of the decoder within float32's rounding."""
    codes = codes_of(janus, count)
    stepped = stepped_logits(janus, prompt, codes)
    conditional, unconditional = forced_logits(janus, prompt, codes)
    assert conditional.shape == unconditional.shape == stepped[:, 0].shape
    assert conditional.dtype == unconditional.dtype == np.float32
    scale = np.abs(stepped).max()
    np.testing.assert_allclose(conditional, stepped[:, 0], rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(unconditional, stepped[:, 1], rtol=0, atol=1e-5 * scale)


def test_no_position_sees_its_own_code(janus: Janus) -> None:
    """Row t depends on the codes before t alone: the last code on nothing at all."""
    codes = codes_of(janus, 16)
    for changed in (15, 7):
        other = codes.copy()
        other[changed] = (other[changed] + 1) % 128
        for a, b in zip(
            forced_logits(janus, "a cat", codes), forced_logits(janus, "a cat", other), strict=True
        ):
            np.testing.assert_array_equal(a[: changed + 1], b[: changed + 1])
            assert changed == 15 or (a[changed + 1] != b[changed + 1]).any()


def test_guidance_draws_the_codes_that_were_painted(janus: Janus) -> None:
    """Guided logits over the temperature and the same noise give the painter's own codes."""
    picture = janus.generate("a cat", seed=3, guidance_scale=4.0, temperature=0.7)[0]
    logits = guided(*forced_logits(janus, "a cat", picture.codes), 4.0)
    assert logits.dtype == np.float32
    noise = np.stack([gumbel(3, 0, t, logits.shape[1]) for t in range(len(logits))])
    assert (logits / np.float32(0.7) + noise).argmax(-1).tolist() == picture.codes.tolist()


def test_guidance() -> None:
    """Scale 1 is the conditional row, 0 the unconditional, beyond 1 away from it."""
    cond, uncond = np.float32([[1, 4]]), np.float32([[2, 2]])
    assert guided(cond, uncond, 1).tolist() == cond.tolist()
    assert guided(cond, uncond, 0).tolist() == uncond.tolist()
    assert guided(cond, uncond, 5.0).tolist() == [[-3, 12]]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 16), st.integers(1, 20))
def test_chunks_do_not_show(chunk: int, count: int, rows: int) -> None:
    """In chunks of any size every position has the hidden state that its own row asks for: on the
    fake model, whose whole numbers are equal or wrong."""
    with pytest.MonkeyPatch.context() as patch:
        import tempfile

        patch.setattr(graph_outputs_module, "PREFILL_CHUNK", chunk)
        patch.setattr(graph_outputs_module, "ROWS", rows)
        with tempfile.TemporaryDirectory() as folder:
            fake = fake_janus(Path(folder), FakeBackend())
            codes = codes_of(fake, count)
            conditional, unconditional = forced_logits(fake, "a red fox", codes)
            ids = text_to_image_ids(fake.tokenizer, "a red fox")
            for found, row in (
                (conditional, ids),
                (unconditional, unconditional_ids(ids, fake.tokenizer.special)),
            ):
                embeds = np.concatenate([fake.text_embeddings(row), code_embeddings(codes[:-1])])
                hidden = hidden_of(embeds)[-count:]
                expected = fake_logits(hidden, CONFIG.vq.codebook_size)
                np.testing.assert_array_equal(found, expected)


def test_a_greedy_answer_is_the_most_probable(janus: Janus) -> None:
    """Each token of a greedy answer has the largest logit after those before it."""
    image = Image.radial_gradient("L").convert("RGB")
    said = janus.describe(image, "What is this?", max_new_tokens=8)
    ids = question_ids(
        janus.tokenizer, "What is this?", 1, janus.bundle.manifest.config.image_tokens
    )
    hidden = answering_hidden_states(janus, ids, [image], said.token_ids)
    assert hidden.shape == (8, janus.bundle.manifest.config.language.hidden_size)
    logits = text_logits(janus, hidden)
    assert logits.dtype == np.float32
    assert logits.argmax(-1).tolist() == list(said.token_ids)


def test_rows_of_any_number(janus: Janus) -> None:
    """More rows than one call takes give each row what it has alone."""
    codes = codes_of(janus, 300)
    found = graph_outputs(janus, Graph.IMAGE_EMBEDDING, codes)
    assert found.shape == (300, 1, janus.bundle.manifest.config.language.hidden_size)
    for index in (0, 127, 128, 299):
        alone = graph_outputs(janus, Graph.IMAGE_EMBEDDING, codes[index : index + 1])
        np.testing.assert_array_equal(found[index], alone[0])
    with pytest.raises(ValueError, match="guided_sampler"):
        graph_outputs(janus, Graph.GUIDED_SAMPLER, codes)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([], "must be a row of integers"),
        ([[1, 2]], "must be a row of integers"),
        ([0.5, 1.0], "must be a row of integers, found float64"),
        ([0] * 17, "a picture has 16 codes, found 17"),
        ([0, 128], "from 0 to 127, found 0 to 128"),
        ([-1, 5], "from 0 to 127, found -1 to 5"),
    ],
)
def test_codes_that_are_none(janus: Janus, codes: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        painting_rows(janus, "a cat", np.array(codes))


def test_what_does_not_fit(janus: Janus) -> None:
    """A prompt beyond the model's positions, an answer without tokens."""
    with pytest.raises(CapacityError, match="the model has 1024"):
        forced_logits(janus, "x" * 2000, codes_of(janus, 3))
    with pytest.raises(InputError, match="at least one token"):
        answering_hidden_states(janus, [1, 2], [], [])
