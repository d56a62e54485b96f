"""The original's rules, stated here in a few lines each, against the graphs and against
transformers, whose port differs in one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers import JanusForConditionalGeneration

from janus_edge.compare import difference
from janus_edge.graphs import Graph
from janus_edge.noise import gumbel_rows
from janus_edge.runtime.pipeline import Janus

Array = np.ndarray
Run = Callable[..., Array]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Iterator[JanusForConditionalGeneration]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine ten times faster for so small a model
    loaded = JanusForConditionalGeneration.from_pretrained(tiny_checkpoint, dtype=torch.float32)
    yield loaded.eval()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(tiny_bundle: Path) -> Iterator[Run]:
    """``run(graph, output buffer, **inputs)``: the filled buffer."""
    with Janus.load(tiny_bundle, threads=1) as janus:

        def call(graph: Graph, output: Array, **inputs: Array) -> Array:
            (port,) = janus.bundle.manifest.graphs[graph.value].outputs
            janus.backend.session(graph).bind(inputs, {port.name: output})()
            return output

        yield call


def pixels(images: int, seed: int = 0) -> Tensor:
    """Smooth and noisy pictures in [-1, 1], [N, 3, 32, 32]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(images, 3, 32, 32, generator=generator) * 2 - 1
    coarse = torch.nn.functional.interpolate(noise[..., :4, :4], size=32, mode="bicubic")
    return torch.where(
        torch.arange(images)[:, None, None, None] % 2 == 0, noise, coarse.clamp(-1, 1)
    )


@torch.inference_mode()
def test_the_nearest_code_is_that_of_the_directions(
    run: Run, model: JanusForConditionalGeneration
) -> None:
    """The VQ encoder's code is the nearest entry after latents and codebook are both brought to
    length 1. transformers leaves out the lengths and finds other codes."""
    given, vq = pixels(6), model.model.vqmodel
    latents = vq.quant_conv(vq.encoder(given)).flatten(2).transpose(1, 2)
    latents = latents / latents.norm(dim=-1, keepdim=True)
    entries = vq.quantize.embedding.weight
    entries = entries / entries.norm(dim=-1, keepdim=True)
    distances = torch.cdist(latents, entries.expand(len(latents), -1, -1))
    two = distances.topk(2, largest=False).values
    assert (two[..., 1] - two[..., 0]).min() > 1e-5, "a tie: choose other pictures"
    expected = distances.argmin(-1).numpy()

    codes = run(Graph.VQ_ENCODER, np.zeros((6, 16), np.int64), pixel_values=given.numpy())
    np.testing.assert_array_equal(codes, expected)
    port = vq.encode(given).image_tokens.reshape(6, 16).numpy()
    assert (port != expected).mean() > 0.2
    assert len(np.unique(codes)) > 20


@torch.inference_mode()
def test_the_decoder_takes_directions_too(run: Run, model: JanusForConditionalGeneration) -> None:
    """The VQ decoder looks codes up in the codebook brought to length 1; with the entries as they
    are stored the pictures are others."""
    codes, vq = torch.arange(32).reshape(2, 16) * 3, model.model.vqmodel
    found = run(Graph.VQ_DECODER, np.zeros((2, 3, 32, 32), np.float32), image_codes=codes.numpy())

    def picture(entries: Tensor) -> Array:
        latents = entries[codes].transpose(1, 2).reshape(2, -1, 4, 4)
        return vq.decoder(vq.post_quant_conv(latents)).numpy()

    stored = vq.quantize.embedding.weight
    unit = stored / stored.norm(dim=-1, keepdim=True)
    assert difference(found, picture(unit), "float32")
    assert not difference(found, picture(stored), "float32")


@torch.inference_mode()
def test_every_block_and_the_final_norm_see_the_picture(
    run: Run, model: JanusForConditionalGeneration
) -> None:
    """The vision encoder is all blocks, the final norm and the aligner; leaving out the last block
    or the norm gives something else."""
    given, core = pixels(2), model.model
    tower = core.vision_model
    found = run(Graph.VISION_ENCODER, np.zeros((2, 16, 64), np.float32), pixel_values=given.numpy())

    def embeddings(blocks: int, *, norm: bool) -> Array:
        hidden = tower.embeddings(given)
        for layer in tower.encoder.layers[:blocks]:
            hidden = layer(hidden, None)
        hidden = tower.post_layernorm(hidden) if norm else hidden
        return core.aligner(hidden).numpy()

    blocks = len(tower.encoder.layers)
    assert difference(found, embeddings(blocks, norm=True), "float32")
    assert difference(found, core.get_image_features(given).pooler_output.numpy(), "float32")
    assert not difference(found, embeddings(blocks - 1, norm=True), "float32")
    assert not difference(found, embeddings(blocks, norm=False), "float32")


@torch.inference_mode()
def test_codes_are_embedded_through_the_aligner(
    run: Run, model: JanusForConditionalGeneration
) -> None:
    """Every code's embedding is that of transformers' aligner, given to the conditional and to the
    unconditional row."""
    codes = torch.arange(128)
    rows = model.prepare_embeddings_for_image_generation(codes[:, None]).numpy()
    found = run(
        Graph.IMAGE_EMBEDDING, np.zeros((256, 1, 64), np.float32), image_codes=codes.numpy()
    )
    assert difference(found, np.concatenate([rows, rows]), "float32")


@pytest.mark.parametrize("temperature", [1.0, 0.25])
@pytest.mark.parametrize("guidance", [5.0, 1.0, 0.0, -2.0])
def test_sampler(run: Run, guidance: float, temperature: float) -> None:
    """The sampler is argmax((uncond + g (cond - uncond)) / T + noise) of rows [cond..., uncond...]."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (2 * 9, 128)).astype(np.float32)
    noise = generator.gumbel(size=(9, 128)).astype(np.float32)
    codes = run(
        Graph.GUIDED_SAMPLER, np.zeros(9, np.int64), logits=logits,
        guidance_scale=np.array(guidance, np.float32),
        temperature=np.array(temperature, np.float32), noise=noise,
    )  # fmt: skip
    cond, uncond = logits[:9].astype(np.float64), logits[9:].astype(np.float64)
    score = (uncond + guidance * (cond - uncond)) / temperature + noise
    best = np.sort(score, -1)
    assert (best[:, -1] - best[:, -2]).min() > 1e-4, "a tie: choose another seed"
    np.testing.assert_array_equal(codes, score.argmax(-1))


@pytest.mark.parametrize(("guidance", "temperature"), [(1.0, 1.0), (2.0, 0.7), (5.0, 2.0)])
def test_sampled_codes_follow_the_softmax(run: Run, guidance: float, temperature: float) -> None:
    """Codes drawn with the package's noise are distributed as softmax(guided / T): chi-square of
    20,000 draws, at a level that a right sampler misses once in a thousand seeds; the distribution
    without guidance, where there is some, is rejected."""
    draws, generator = 20_000, np.random.default_rng(1)
    cond, uncond = generator.normal(0, 0.7, (2, 128))
    cond[8:] -= 6  # most of the weight on a few codes, and a tail
    logits = np.concatenate([np.tile(cond, (draws, 1)), np.tile(uncond, (draws, 1))])
    noise = gumbel_rows([7] * draws, range(draws), 3, 128)
    codes = run(
        Graph.GUIDED_SAMPLER, np.zeros(draws, np.int64), logits=logits.astype(np.float32),
        guidance_scale=np.array(guidance, np.float32),
        temperature=np.array(temperature, np.float32), noise=noise,
    )  # fmt: skip

    def p_value(scores: Array) -> float:
        weights = np.exp(scores - scores.max())
        expected = draws * weights / weights.sum()
        counts = np.bincount(codes, minlength=128)
        rare = expected < 10
        if rare.any():
            expected = np.append(expected[~rare], expected[rare].sum())
            counts = np.append(counts[~rare], counts[rare].sum())
        return float(stats.chisquare(counts, expected, sum_check=False).pvalue)

    assert p_value((uncond + guidance * (cond - uncond)) / temperature) > 1e-3
    if guidance != 1:
        assert p_value(cond / temperature) < 1e-6
