"""Stages 4 and 5: prompts that scenes show, codes that the runtime would draw, gradients of both."""

from __future__ import annotations

from pathlib import Path

import category_prompts
import dataset
import lessons
import numpy as np
import packed_state
import patch_codes
import policy
import pytest
import rewards
import torch
from bundle_sampler import BundleSampler
from category_prompts import Request, request, scene_for
from checkpoint import SHIPPED, codec_of, model_of, save, tokenizer_of
from codes import contents, most_frequent
from run import Run
from transformers import JanusForConditionalGeneration

from janus_edge.noise import gumbel_rows
from janus_edge.runtime.prompts import Tokenizer
from janus_edge.shapes.claims import KIND, Claim
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.prompts import CATEGORIES, fault
from janus_edge.shapes.reader import read
from janus_edge.shapes.scene import TONES, Background, Scene

TEXTS = ("a star", "a photo of two red rings and a cross on a white background")
SEEDS = (5, 6)


@pytest.fixture(scope="module")
def model() -> JanusForConditionalGeneration:
    return model_of()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokenizer_of()


@pytest.fixture(scope="module")
def drawn(
    model: JanusForConditionalGeneration, miniature_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> torch.Tensor:  # fmt: skip
    """Codes of two pictures of each prompt, by a model that is not the one that was exported."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".language_model." in name or ".generation_" in name:
                weight *= 1 + 0.02 * torch.randn(weight.shape, generator=generator)
    sampler = BundleSampler(miniature_bundle, tmp_path_factory.mktemp("sampler") / "bundle")
    sampler.update(model)
    codes, pictures = sampler.paint(TEXTS, 2, SEEDS, 5.0)
    assert pictures.shape == (4, 64, 64, 3)
    return codes


@torch.no_grad()
def guided(
    model: JanusForConditionalGeneration, tokenizer: Tokenizer, text: str, codes: torch.Tensor
) -> torch.Tensor:
    """Guided logits [256, 512] of one picture, by transformers' own pass without padding."""
    inner, logits = model.model, []
    painted = inner.generation_aligner(inner.generation_embeddings(codes[:-1]))
    for ids in policy.guidance_rows(tokenizer, text):
        embeds = torch.cat([inner.language_model.embed_tokens(torch.tensor(ids)), painted])
        hidden = inner.language_model(inputs_embeds=embeds[None]).last_hidden_state[0, -256:]
        logits.append(inner.generation_head(hidden))
    return logits[1] + 5.0 * (logits[0] - logits[1])


def test_sampler(
    model: JanusForConditionalGeneration, tokenizer: Tokenizer, drawn: torch.Tensor
) -> None:
    """The runtime draws what transformers' logits of the same weights and its noise say."""
    for number, codes in enumerate(drawn):
        logits = guided(model, tokenizer, TEXTS[number // 2], codes)
        noise = [gumbel_rows([SEEDS[number // 2]], [number % 2], t, 512)[0] for t in range(256)]
        assert (logits + torch.from_numpy(np.stack(noise))).argmax(-1).equal(codes)


def test_log_probability(
    model: JanusForConditionalGeneration, tokenizer: Tokenizer, drawn: torch.Tensor
) -> None:
    """The probability of what was drawn, under the logits that it was drawn from."""
    codes = drawn[::2]
    found = policy.log_probability(model, tokenizer, TEXTS, codes)
    for text, own, one in zip(TEXTS, codes, found.detach(), strict=True):
        logits = guided(model, tokenizer, text, own).log_softmax(-1)
        assert one.item() == pytest.approx(logits.gather(-1, own[:, None]).sum().item(), abs=1e-2)
    found.sum().backward()
    assert model.model.generation_head.vision_head.weight.grad is not None
    assert model.model.vqmodel.quantize.embedding.weight.grad is None
    model.zero_grad()


def test_checkpoint(model: JanusForConditionalGeneration, tmp_path: Path) -> None:
    """A checkpoint comes back in float16's precision, with its other files."""
    save(model, SHIPPED, tmp_path / "copy")
    again = model_of(tmp_path / "copy").state_dict()
    for name, weight in model.state_dict().items():
        assert again[name].equal(weight.half().float()), name
    for file in SHIPPED.iterdir():
        assert (tmp_path / "copy" / file.name).exists()


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("category", CATEGORIES)
def test_scenes_show_their_request(category: str, held_out: bool) -> None:
    for number in range(20):
        rng = np.random.default_rng([1, number])
        asked = request(category, rng, held_out=held_out)
        picture = draw(scene_for(asked, rng))
        assert fault(asked.prompt, read(picture)) is None, asked
        assert rewards.reward(asked, picture) == 1
        assert asked.tone in (None, rewards.tone_of(picture))


def test_held_out() -> None:
    """Training never has a held-out wording or content, and these always have both."""
    for number in range(400):
        rng = np.random.default_rng([2, number])
        for category in ("position", "colour attribution", "dense"):
            for held_out in (False, True):
                prompt = request(category, rng, held_out=held_out).prompt
                words = (f" {w} " for w in ("image of", "drawing of", "on the", "over", "under"))
                assert any(w in f" {prompt.text} " for w in words) == held_out
                claim = Claim(prompt.wanted, prompt.relation)
                assert category_prompts.content_held_out(claim) == held_out
                if not prompt.relation:
                    turned = Claim(prompt.wanted[::-1])
                    assert category_prompts.content_held_out(turned) == held_out


def test_rewards() -> None:
    """Right is worth most, then right in a wrong tone, then some of the objects, then nothing."""
    rng = np.random.default_rng(3)
    asked = request("dense", rng)
    scene = scene_for(asked, rng)
    other = next(tone for tone in TONES if tone != asked.tone)
    wrong_tone = Scene(scene.items, Background(other))
    fewer = Scene(scene.items[1:], scene.background)
    empty = Scene((), scene.background)
    worth = [rewards.reward(asked, draw(s)) for s in (scene, wrong_tone, fewer, empty)]
    assert worth[:2] == [1.0, 0.5]
    assert 0.1 < worth[2] < 0.3
    assert worth[3] == 0
    assert rewards.strictly_right(asked, draw(scene))
    assert not rewards.strictly_right(asked, draw(wrong_tone))


def test_chosen() -> None:
    """Of a group the best and the worst, with what they are above and below its mean."""
    assert policy.chosen(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0])) == []
    assert policy.chosen(np.array([0.1, 0.0, 0.15, 0.0, 0.1, 0.0])) == []
    found = policy.chosen(np.array([0.0, 1.0, 0.3, 0.0, 0.0, 1.0]))
    assert sorted(place for place, _ in found) in ([0, 1, 3, 5], [0, 1, 4, 5], [1, 3, 4, 5])
    mean = 2.3 / 6
    for place, advantage in found:
        assert advantage == pytest.approx((1 if place in (1, 5) else 0) - mean)


def test_patch_codes(model: JanusForConditionalGeneration, tmp_path: Path) -> None:
    """Patches of the table have one code wherever they are; others keep the encoder's."""
    codec = codec_of(model)
    table = patch_codes.PatchCodes.load(tmp_path, codec, scenes=64)
    again = patch_codes.PatchCodes.load(tmp_path, codec, scenes=1)
    scenes = [lessons.thinned_scene(np.random.default_rng([4, i])) for i in range(20)]
    pictures = np.stack([draw(scene) for scene in scenes])
    codes = table(pictures)
    assert (codes == again(pictures)).all()
    own = patch_codes._encoded(codec, pictures)
    shown = [dataset.scene(i) for i in range(64)]
    first = np.stack([draw(s) for s in shown])
    stage_3 = most_frequent(contents(first), patch_codes._encoded(codec, first))
    plain = np.array([s.background.end is None for s in shown])
    assert (table(first[plain]) == stage_3[plain]).all(), "the codes that stage 3 learns"
    assert 0.5 < (codes == own).mean() < 1
    known = np.isin(contents(pictures), table._keys)
    assert not known.all()
    assert (codes[~known] == own[~known]).all()
    by_content: dict[int, set[int]] = {}
    for key, code in zip(contents(pictures)[known], codes[known], strict=True):
        by_content.setdefault(int(key), set()).add(int(code))
    assert all(len(found) == 1 for found in by_content.values())


def test_lessons(tokenizer: Tokenizer) -> None:
    """Batches depend on the step alone; questions hold claims; few backgrounds are graded."""
    one, two, other = (lessons.lesson_askings(tokenizer, step, 3) for step in (1, 1, 2))
    assert one.ids.equal(two.ids)
    assert not (one.ids.shape == other.ids.shape and one.ids.equal(other.ids))
    rng = np.random.default_rng(5)
    kinds = [q.kind for q in lessons._questions(lessons.thinned_scene(rng), 400, rng)]
    assert 0.2 < kinds.count(KIND) / 400 < 0.4
    graded = sum(lessons.thinned_scene(rng).background.end is not None for _ in range(2000))
    assert graded / 2000 == pytest.approx(1 / 40, abs=0.012)


def test_weak_categories_are_asked_for_more_often(tokenizer: Tokenizer) -> None:
    trained = policy.Policy(tokenizer, SHIPPED)
    right, total = torch.zeros(7), torch.zeros(7)
    right[0], total[0], total[6] = 10, 10, 10
    for _ in range(30):
        trained.count(right, total)
    weights = trained.weights()
    assert weights[0] < 0.59 < weights[1] < 0.61 < weights[6]


def test_constant_rate(tmp_path: Path) -> None:
    """A run with a constant rate keeps it after the warm-up."""
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(layer.parameters(), 0.5)
    rates = []
    for _ in Run(tmp_path, "x", layer, optimizer, 5, warm_up=2, constant=True, log_steps=1):
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.25, 0.5, 0.5, 0.5, 0.5]


def test_requests_follow_their_weights() -> None:
    asked: list[Request] = category_prompts.requests(
        (0, 0, 0, 0, 3, 0, 1), 400, np.random.default_rng(6)
    )
    counts = [sum(a.prompt.category == c for a in asked) for c in CATEGORIES]
    assert counts[:4] == [0, 0, 0, 0]
    assert counts[4] == pytest.approx(300, abs=40)


def test_packed_state(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A state that was packed continues with the same weights and moments, but for rounding."""
    trained = policy.Policy(tokenizer, SHIPPED)
    learnt = [weight for weight in trained.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(learnt, 1e-3, (0.9, 0.95))
    run = Run(tmp_path, "policy", trained, optimizer, 3, constant=True)
    for step in run:
        generator = torch.Generator().manual_seed(step)
        for weight in learnt:
            weight.grad = torch.randn(weight.shape, generator=generator) * 1e-4
        optimizer.step()
    state = torch.load(tmp_path / "policy.state.pt", weights_only=True)
    again = packed_state.unpack(*packed_state.pack(state, SHIPPED), SHIPPED)
    fresh = policy.Policy(tokenizer, SHIPPED)
    fresh.load_state_dict(again["model"])
    start = policy.Policy(tokenizer, SHIPPED).state_dict()
    for name, weight in fresh.state_dict().items():
        if "probe" in name:  # random, and no part of stage 5
            continue
        moved = (state["model"][name] - start[name]).abs().max()
        assert (weight - state["model"][name]).abs().max() <= moved * 1e-3, name
    resumed = torch.optim.Adam([w for w in fresh.parameters() if w.requires_grad], 1e-3)
    resumed.load_state_dict(again["optimizer"])
    for number, moments in state["optimizer"]["state"].items():
        own = resumed.state_dict()["state"][number]
        assert own["step"] == moments["step"] == 3
        for name in packed_state._MOMENTS:
            assert (own[name] - moments[name]).abs().max() <= moments[name].abs().max() * 2e-3
    assert (again["step"], again["seconds"]) == (state["step"], state["seconds"])
