"""The whole runtime against transformers' model, driven by loops written here from the original's
rule (deepseek-ai/Janus, ``generation_inference.py`` and ``inference.py``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from PIL import Image
from torch import Tensor
from transformers import JanusForConditionalGeneration

from janus_edge.noise import gumbel
from janus_edge.runtime.image_processing import preprocess
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import DEFAULT_SYSTEM_PROMPT

#: A choice closer than this, in units of the logits, may fall either way: float32 rounding was
#: seen to move logits by 4e-6, which guidance multiplies.
MARGIN = 2e-5

BOS, EOS, PAD = (f"<｜{name}｜>" for name in ("begin▁of▁sentence", "end▁of▁sentence", "▁pad▁"))
IMAGE_TAG, IMAGE_START, IMAGE_END = "<image_placeholder>", "<begin_of_image>", "<end_of_image>"


@pytest.fixture(scope="module")
def janus(tiny_bundle: Path) -> Iterator[Janus]:
    with Janus.load(tiny_bundle, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Iterator[JanusForConditionalGeneration]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine ten times faster for so small a model
    loaded = JanusForConditionalGeneration.from_pretrained(tiny_checkpoint, dtype=torch.float32)
    yield loaded.eval()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))


def photo(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (25, 40, 3), np.uint8)
    return Image.fromarray(values)


def prompt_ids(tokenizer: tokenizers.Tokenizer, prompt: str) -> Tensor:
    content = f"<|User|>: {prompt}\n\n" if prompt else "<|User|>:"
    text = f"{BOS}{content}<|Assistant|>:{IMAGE_START}"
    return torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)


@torch.inference_mode()
def original_codes(
    model: JanusForConditionalGeneration,
    ids: Tensor,
    pad: int,
    pictures: int,
    seed: int,
    guidance: float,
    temperature: float,
) -> tuple[np.ndarray, float]:
    """The original's loop: rows [cond, uncond, cond, uncond, ...], pads attended like any token,
    one growing cache. Returns codes [P, T] and the closest call's margin."""
    core = model.model
    tokens = ids.repeat(2 * pictures, 1)
    tokens[1::2, 1:-1] = pad
    embeds, cache, codes, margin = core.get_input_embeddings()(tokens), None, [], float("inf")
    for position in range(core.vision_model.config.num_image_tokens):
        output = core.language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits = core.generation_head(output.last_hidden_state[:, -1])
        cond, uncond = logits[0::2], logits[1::2]
        guided = uncond + guidance * (cond - uncond)
        if temperature > 0:
            noise = np.stack([gumbel(seed, p, position, guided.shape[1]) for p in range(pictures)])
            guided = guided / temperature + torch.from_numpy(noise)
        best = guided.topk(2).values
        margin = min(margin, float((best[:, 0] - best[:, 1]).min()))
        drawn = guided.argmax(-1)
        codes.append(drawn.numpy())
        both = torch.stack([drawn, drawn], 1).view(-1)
        embeds = core.generation_aligner(core.generation_embeddings(both))[:, None]
    return np.stack(codes, 1), margin


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
@pytest.mark.parametrize(("seed", "guidance"), [(0, 5.0), (11, 1.0), (2**63 + 5, 2.5), (3, 0.0)])
def test_codes_equal_the_originals(
    janus: Janus,
    model: JanusForConditionalGeneration,
    tokenizer: tokenizers.Tokenizer,
    seed: int,
    guidance: float,
    temperature: float,
) -> None:
    """All codes of three pictures of each of three prompts equal those of the original's loop with
    the same noise, for every step."""
    prompts = ["a cat", "a small red house beside a lake, with mountains and a clear sky", ""]
    pad = tokenizer.token_to_id(PAD)
    found = janus.generate(prompts, 3, seed=seed, guidance_scale=guidance, temperature=temperature)
    for index, prompt in enumerate(prompts):
        expected, margin = original_codes(
            model, prompt_ids(tokenizer, prompt), pad, 3, seed, guidance, temperature
        )
        assert margin > MARGIN * max(1, guidance), "a tie: choose another seed to decide"
        for picture, codes in zip(found[3 * index : 3 * index + 3], expected, strict=True):
            assert picture.prompt == prompt
            np.testing.assert_array_equal(picture.codes, codes)


def test_the_loop_depends_on_its_pads(
    model: JanusForConditionalGeneration, tokenizer: tokenizers.Tokenizer
) -> None:
    """The unconditional row matters: with another token for the pads the codes differ, so that the
    equality above also holds the pads to the original's."""
    ids = prompt_ids(tokenizer, "a small red house beside a lake")
    pad = tokenizer.token_to_id(PAD)
    right, _ = original_codes(model, ids, pad, 1, 0, 5.0, 0.0)
    wrong, _ = original_codes(model, ids, pad + 1, 1, 0, 5.0, 0.0)
    assert (right != wrong).any()


@pytest.mark.parametrize("prompt", ["a cat", "an astronaut with a flag, portrait"])
def test_greedy_codes_equal_transformers_generate(
    janus: Janus,
    model: JanusForConditionalGeneration,
    tokenizer: tokenizers.Tokenizer,
    prompt: str,
) -> None:
    """transformers' own image generation, greedy, gives our codes at temperature 0."""
    ids = prompt_ids(tokenizer, prompt)[None]
    codes = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_mode="image",
        do_sample=False,
        guidance_scale=5,
        max_length=ids.shape[1] + 16,
    )
    (picture,) = janus.generate(prompt, temperature=0, guidance_scale=5)
    np.testing.assert_array_equal(picture.codes, codes[0].numpy())


def test_pictures_equal_the_originals(janus: Janus, model: JanusForConditionalGeneration) -> None:
    """Codes decode to the bytes that the original makes of transformers' pixels:
    clip((x + 1) / 2 * 255), cut to uint8; but for values that lie on the edge of a grey level."""
    codes = torch.randint(128, (1, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pixels = model.decode_image_tokens(codes)[0].numpy()
    greys = np.clip((pixels + 1) / 2 * 255, 0, 255)
    found = np.asarray(janus.decode(codes[0].numpy()))
    edge = np.abs(greys - np.rint(greys)) < 1e-3
    assert edge.mean() < 0.01 + np.isin(greys, (0, 255)).mean()
    np.testing.assert_array_equal(found[~edge], greys.astype(np.uint8)[~edge])


def chat_ids(
    tokenizer: tokenizers.Tokenizer, messages: list[str | list[int]], image_tokens: int
) -> list[int]:
    """The original's template over questions and answers; an answer is given in its tokens."""
    image = f"{IMAGE_START}{IMAGE_TAG * image_tokens}{IMAGE_END}"
    text, ids = f"{BOS}{DEFAULT_SYSTEM_PROMPT}\n\n", []
    for message in messages:
        if isinstance(message, str):
            text += f"<|User|>: {message.replace(IMAGE_TAG, image)}\n\n<|Assistant|>:"
            ids += tokenizer.encode(text, add_special_tokens=False).ids
        else:
            ids += message
            text = EOS
    return ids


@torch.inference_mode()
def greedy_answer(
    model: JanusForConditionalGeneration,
    ids: list[int],
    images: list[Image.Image],
    new: int,
    stop: int,
) -> list[int]:
    """Greedy tokens by the whole row at every step; no cache, no padding. Every choice is clear."""
    pixels = torch.from_numpy(preprocess(images, 32)) if images else None
    row, tokens = list(ids), []
    while len(tokens) < new:
        logits = model(input_ids=torch.tensor([row]), pixel_values=pixels, use_cache=False).logits[
            0, -1
        ]
        best = logits.topk(2).values
        assert best[0] - best[1] > MARGIN, "a tie: choose another question"
        token = int(logits.argmax())
        if token == stop:
            break
        tokens.append(token)
        row.append(token)
    return tokens


@pytest.mark.parametrize("count", [0, 1, 2])
def test_answers_equal_transformers(
    janus: Janus,
    model: JanusForConditionalGeneration,
    tokenizer: tokenizers.Tokenizer,
    count: int,
) -> None:
    """The greedy answer about no, one and two images is that of transformers' forward over the
    whole row, and that of its own generate()."""
    images, stop = [photo(n) for n in range(count)], tokenizer.token_to_id(EOS)
    question = f"{IMAGE_TAG}\n" * count + "what is this?"
    ids = chat_ids(tokenizer, [question], 16)
    answer = janus.describe(images, "what is this?", max_new_tokens=24)
    assert answer.prompt_tokens == len(ids)
    assert list(answer.token_ids) == greedy_answer(model, ids, images, 24, stop)
    row = torch.tensor([ids])
    own = model.generate(
        input_ids=row,
        attention_mask=torch.ones_like(row),
        generation_mode="text",
        do_sample=False,
        max_new_tokens=24,
        **({"pixel_values": torch.from_numpy(preprocess(images, 32))} if images else {}),
    )[0, len(ids) :].tolist()
    own = own[: own.index(stop)] if stop in own else own
    assert list(answer.token_ids) == own


def test_placed_images_equal_transformers(
    janus: Janus, model: JanusForConditionalGeneration, tokenizer: tokenizers.Tokenizer
) -> None:
    """Images at placeholders inside the question are where transformers puts them."""
    images, stop = [photo(4), photo(5)], tokenizer.token_to_id(EOS)
    question = f"is {IMAGE_TAG} like {IMAGE_TAG} or not?"
    ids = chat_ids(tokenizer, [question], 16)
    answer = janus.describe(images, question, max_new_tokens=16)
    assert list(answer.token_ids) == greedy_answer(model, ids, images, 16, stop)


def test_a_conversation_equals_transformers(
    janus: Janus, model: JanusForConditionalGeneration, tokenizer: tokenizers.Tokenizer
) -> None:
    """The answers of a conversation of three turns, with images in the first and the last, are
    those of transformers run over the whole conversation from scratch at each turn."""
    first, last, stop = photo(6), photo(7), tokenizer.token_to_id(EOS)
    chat = janus.chat(capacity=600)
    questions: list[tuple[str, list[Image.Image]]] = [
        ("what is this?", [first]), ("why?", []), ("and what is this?", [last])
    ]  # fmt: skip
    messages: list[str | list[int]] = []
    images: list[Image.Image] = []
    for question, given in questions:
        answer = chat.ask(question, given, max_new_tokens=12)
        images += given
        messages.append(f"{IMAGE_TAG}\n" * len(given) + question)
        ids = chat_ids(tokenizer, messages, 16)
        assert answer.prompt_tokens == len(ids)
        assert list(answer.token_ids) == greedy_answer(model, ids, images, 12, stop)
        messages.append(list(answer.token_ids))
