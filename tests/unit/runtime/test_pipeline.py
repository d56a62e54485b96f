"""`Janus` on a real miniature: painting, answering, reconstructing, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janus_edge.errors import BundleError, CapacityError, InputError
from janus_edge.runtime.generation import Parallel
from janus_edge.runtime.image_processing import preprocess
from janus_edge.runtime.picture import Picture
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import (
    DEFAULT_SYSTEM_PROMPT,
    placeholder_positions,
    question_ids,
)

PROMPTS = ["a cat", "a small red house that stands beside a lake, with mountains behind it", ""]


@pytest.fixture(scope="module")
def janus(tiny_bundle: Path) -> Iterator[Janus]:
    with Janus.load(tiny_bundle, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def total(janus: Janus) -> int:
    return janus.bundle.manifest.config.image_tokens


def photo(seed: int = 0, size: tuple[int, int] = (40, 25)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


def codes_of(pictures: list[Picture]) -> list[list[int]]:
    return [picture.codes.tolist() for picture in pictures]


def test_pictures_and_their_provenance(janus: Janus, total: int) -> None:
    """Pictures come prompt by prompt, numbered within each, with all that remakes them."""
    pictures = janus.generate(PROMPTS[:2], 2, seed=9, guidance_scale=3, temperature=0.8)
    found = [(p.prompt, p.index, p.seed, p.guidance_scale, p.temperature) for p in pictures]
    assert found == [(prompt, i, 9, 3, 0.8) for prompt in PROMPTS[:2] for i in range(2)]
    size = janus.bundle.manifest.config.image_size
    for picture in pictures:
        assert picture.image.mode == "RGB"
        assert picture.image.size == (size, size)
        assert picture.codes.shape == (total,)
        assert picture.codes.dtype == np.int64
        assert picture.image.tobytes() == janus.decode(picture.codes).tobytes()
    assert len({tuple(codes) for codes in codes_of(pictures)}) == 4


def test_a_picture_does_not_depend_on_its_batch(janus: Janus) -> None:
    """Six pictures of prompts of unequal length at once are the pictures made one by one, and the
    last of a row of pictures is the same in a shorter row or with other prompts."""
    batch = codes_of(janus.generate(PROMPTS, 2, seed=4))
    for index, prompt in enumerate(PROMPTS):
        alone = codes_of(janus.generate(prompt, 2, seed=4))
        assert batch[2 * index : 2 * index + 2] == alone
        assert codes_of(janus.generate(prompt, 1, seed=4)) == alone[:1]
    assert codes_of(janus.generate(PROMPTS[::-1], seed=4)) == batch[::2][::-1]


@pytest.mark.parametrize("parallel", ["off", 3])
def test_seeds_of_their_own(janus: Janus, parallel: Parallel) -> None:
    """With a list of seeds every prompt is painted as alone with its own; the list must fit."""
    batch = codes_of(janus.generate(PROMPTS[:2], 2, seed=[4, 9], parallel=parallel))
    assert batch[:2] == codes_of(janus.generate(PROMPTS[0], 2, seed=4))
    assert batch[2:] == codes_of(janus.generate(PROMPTS[1], 2, seed=9))
    with pytest.raises(InputError, match="one for each of 2 prompts; found 3"):
        janus.generate(PROMPTS[:2], seed=[1, 2, 3])
    with pytest.raises(InputError, match="the seed must be from 0"):
        janus.generate(PROMPTS[:2], seed=[1, -2])


def test_what_a_picture_depends_on(janus: Janus) -> None:
    """Prompt, seed, guidance and temperature each change the picture; greedy ignores the seed."""
    made = [
        janus.generate("a cat", seed=1),
        janus.generate("a dog", seed=1),
        janus.generate("a cat", seed=2),
        janus.generate("a cat", seed=1, guidance_scale=1),
        janus.generate("a cat", seed=1, temperature=0.5),
        janus.generate("a cat", seed=1, temperature=0),
    ]
    assert len({tuple(codes_of(pictures)[0]) for pictures in made}) == len(made)
    greedy = codes_of(janus.generate("a cat", 2, seed=7, temperature=0))
    assert greedy == codes_of(made[-1]) * 2


def test_steps_report_progress(janus: Janus, total: int) -> None:
    """There is one step per code; each holds all codes so far and keeps them, only the last holds
    pictures, and they are those of generate()."""
    steps = list(janus.generate_steps(PROMPTS[:2], seed=3))
    whole = janus.generate(PROMPTS[:2], seed=3)
    assert [(step.step, step.total) for step in steps] == [(n + 1, total) for n in range(total)]
    final = np.array(codes_of(whole))
    for step in steps:
        np.testing.assert_array_equal(step.codes, final[:, : step.step])
        assert bool(step.pictures) == (step.step == total)
    for found, wanted in zip(steps[-1].pictures, whole, strict=True):
        assert found.image.tobytes() == wanted.image.tobytes()


@pytest.mark.parametrize("parallel", [1, 3, 16, "auto"])
def test_parallel_paints_the_same(
    janus: Janus, total: int, parallel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several codes a pass: the same pictures; every step tells the codes that are final."""
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "cache"))
    whole = janus.generate(PROMPTS[:2], 2, seed=3)
    steps = list(janus.generate_steps(PROMPTS[:2], 2, seed=3, parallel=parallel))
    final = np.array(codes_of(whole))
    for before, step in pairwise(steps):
        assert (before.step, before.passes) < (step.step, step.passes)
    for step in steps:
        np.testing.assert_array_equal(step.codes, final[:, : step.step])
    assert steps[-1].step == total
    assert steps[-1].passes <= total - 1
    for found, wanted in zip(steps[-1].pictures, whole, strict=True):
        assert found.image.tobytes() == wanted.image.tobytes()


@pytest.mark.parametrize("parallel", ["off", 3])
def test_closing_steps_stops(janus: Janus, parallel: Any) -> None:
    """A generation that is closed gives nothing more, and the next one is not disturbed."""
    expected = codes_of(janus.generate("a cat"))
    steps = janus.generate_steps("a cat", parallel=parallel)
    seen = [next(steps) for _ in range(3)]
    assert seen[0].step == 1
    assert [step.passes for step in seen] == [0, 1, 2]
    steps.close()  # type: ignore[attr-defined]
    assert list(steps) == []
    assert codes_of(janus.generate("a cat", parallel=parallel)) == expected


@pytest.mark.parametrize("parallel", ["off", 3])
def test_two_generations_do_not_mix(janus: Janus, parallel: Any) -> None:
    """Two generations advanced in turns give what each gives alone."""
    jobs = [("a cat", 1), ("a dog", 2)]
    both = [janus.generate_steps(text, seed=seed, parallel=parallel) for text, seed in jobs]
    last = list(zip_longest(*both))
    for number, (text, seed) in enumerate(jobs):
        *_, step = (pair[number] for pair in last if pair[number])
        assert codes_of(list(step.pictures)) == codes_of(janus.generate(text, seed=seed))


@pytest.mark.parametrize("parallel", ["off", 3])
def test_previews_are_pictures_in_the_making(janus: Janus, total: int, parallel: Any) -> None:
    """What a step holds can be decoded, and the caller may keep it: later steps do not change it."""
    kept = []
    for step in janus.generate_steps("a cat", 2, parallel=parallel):
        padded = np.pad(step.codes[0], (0, total - step.step))
        assert janus.decode(padded).size == (32, 32)
        kept.append((step, step.codes.copy()))
    final = kept[-1][1]
    for step, codes in kept:
        np.testing.assert_array_equal(step.codes, codes)
        np.testing.assert_array_equal(codes, final[:, : step.step])


def test_several_codes_a_pass_do_not_depend_on_the_batch(janus: Janus) -> None:
    """Pictures advance at their own pace, and are those that are painted alone."""
    batch = codes_of(janus.generate(PROMPTS, 2, seed=4, parallel=5))
    for index, prompt in enumerate(PROMPTS):
        assert codes_of(janus.generate(prompt, 2, seed=4)) == batch[2 * index : 2 * index + 2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prompt": []}, "no prompt was given"),
        ({"prompt": [3]}, "prompt must be a string"),
        ({"images_per_prompt": 0}, "images_per_prompt must be at least 1, found 0"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be a finite number, found nan"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
        ({"temperature": -0.1}, "temperature must be at least 0, .*found -0.1"),
        ({"temperature": float("inf")}, "temperature"),
        ({"parallel": 0}, "parallel must be 'off', 'auto' or a number .* 1 to 64, found 0"),
        ({"parallel": 65}, "found 65"),
        ({"parallel": "on"}, "found 'on'"),
        ({"parallel": True}, "found True"),
    ],
)
def test_generate_refuses(janus: Janus, wrong: dict[str, Any], words: str) -> None:
    """A bad argument is named before any work, by generate_steps() when it is called."""
    arguments = {"prompt": "a cat", **wrong}
    with pytest.raises(InputError, match=words):
        janus.generate_steps(**arguments)


def test_too_long_a_prompt_is_refused_at_the_call(janus: Janus) -> None:
    """A prompt that leaves no room for the codes is refused by generate_steps() itself."""
    with pytest.raises(CapacityError, match=r"\d+ prompt tokens and 15 new ones .* has 1024"):
        janus.generate_steps(["a cat", "x" * 2000])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_describe(janus: Janus, count: int, total: int) -> None:
    """Questions about no, one and two images are answered within the limit, repeatably; each image
    takes its tokens and two marks, and changes the answer."""
    images = [photo(n) for n in range(count)]
    answer = janus.describe(images or None, "what is this?", max_new_tokens=10)
    assert 1 <= len(answer.token_ids) <= 10
    assert answer.text == janus.tokenizer.decode(answer.token_ids).strip()
    assert answer == janus.describe(images, "what is this?", max_new_tokens=10)
    question = "<image_placeholder>\n" * count + "what is this?"
    text = f"{DEFAULT_SYSTEM_PROMPT}\n\n<|User|>: {question}\n\n<|Assistant|>:"
    words = janus.tokenizer.encode(text)
    assert answer.prompt_tokens == 1 + len(words) + count * (total + 1)
    if count:
        others = [photo(n + 50) for n in range(count)]
        assert janus.describe(others, "what is this?", 10).token_ids != answer.token_ids


def test_one_image_alone_or_in_a_list(janus: Janus, tmp_path: Path) -> None:
    """A file, its path as text, the PIL image and a list of one are the same picture."""
    path = tmp_path / "photo.png"
    photo().save(path)
    answers = [
        janus.describe(source, "what is this?", 6) for source in (path, str(path), photo(), [path])
    ]
    assert answers == [answers[0]] * 4


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_stream_is_the_answer_in_pieces(janus: Janus, temperature: float) -> None:
    """Streamed or not, the answer is the same; the pieces join to its text."""
    settings: dict[str, Any] = {"max_new_tokens": 20, "temperature": temperature, "seed": 3}
    stream = janus.describe(photo(), "what is this?", stream=True, **settings)
    text = "".join(stream)
    assert stream.answer == janus.describe(photo(), "what is this?", **settings)
    assert text.strip() == stream.answer.text


def test_images_stand_at_their_placeholders(janus: Janus, total: int) -> None:
    """The rows of a prompt at the n-th placeholder are the n-th image's embeddings, all others the
    tokens'; exchanging the images changes the answer."""
    images = [photo(1), photo(2)]
    question = "is <image_placeholder> like <image_placeholder> or not"
    ids = question_ids(janus.tokenizer, question, 2, total)
    rows = janus.embed_prompt(ids, images)
    places = placeholder_positions(ids, janus.tokenizer.special)
    expected = np.concatenate([janus.embed(image) for image in images])
    np.testing.assert_array_equal(rows[places], expected)
    others = np.setdiff1d(np.arange(len(ids)), places)
    np.testing.assert_array_equal(rows[others], janus.text_embeddings(np.array(ids)[others]))
    assert places[total] > places[total - 1] + 2  # words stand between the two
    answers = [janus.describe(given, question, 12).token_ids for given in (images, images[::-1])]
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    ("images", "question", "settings", "words"),
    [
        (None, "<image_placeholder>?", {}, "1 <image_placeholder> and 0 images"),
        ([photo()], "<image_placeholder> <image_placeholder>", {}, "2 .* and 1 images"),
        ("nowhere.png", "what?", {}, "nowhere.png"),
        ([3], "what?", {}, "found int"),
        (None, 3, {}, "question must be a string"),
        (None, "what?", {"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        (None, "what?", {"temperature": -1}, "temperature"),
        (None, "what?", {"temperature": 1, "top_p": 1.5}, "top_p"),
        (None, "what?", {"seed": -2}, "seed"),
    ],
)
def test_describe_refuses(
    janus: Janus, images: Any, question: Any, settings: dict[str, Any], words: str
) -> None:
    """Bad images, questions and settings are named."""
    with pytest.raises(InputError, match=words):
        janus.describe(images, question, **settings)


def test_describe_beyond_the_positions(janus: Janus) -> None:
    """Question and answer together must fit the model, which is said before any work."""
    with pytest.raises(CapacityError, match="has 1024"):
        janus.describe(None, "what?", max_new_tokens=1024)


def test_a_conversation_goes_on(janus: Janus) -> None:
    """The first answer of a chat is describe()'s; a second turn keeps what was said."""
    chat = janus.chat(capacity=400)
    first = chat.ask("what is this?", photo(), max_new_tokens=8)
    assert first == janus.describe(photo(), "what is this?", 8)
    second = chat.ask("and why?", max_new_tokens=8)
    assert second.prompt_tokens > first.prompt_tokens + len(first.token_ids)
    assert chat.positions[1] == 400
    other = janus.chat(capacity=400)
    other.ask("what is this?", photo(5), max_new_tokens=8)
    assert other.ask("and why?", max_new_tokens=8).token_ids != second.token_ids


@pytest.mark.parametrize("capacity", [0, -5, 1025])
def test_chat_refuses_capacities(janus: Janus, capacity: int) -> None:
    """A capacity below 1 or beyond the model's positions is refused, for its plan as well."""
    for ask in (janus.chat, janus.chat_memory):
        with pytest.raises(InputError, match=f"from 1 to the model's 1024 .* found {capacity}"):
            ask(capacity=capacity)


def test_a_small_model_has_a_default_conversation(janus: Janus) -> None:
    """Without a capacity, a model with fewer positions than the default gives all it has."""
    assert janus.chat().positions == (0, 1024)
    assert janus.chat_memory() == janus.chat_memory(1024)


def test_encode(janus: Janus, tmp_path: Path, total: int) -> None:
    """Codes [T] int64 within the codebook, the same from a file as from an image."""
    path = tmp_path / "photo.png"
    photo().save(path)
    codes = janus.encode(path)
    assert codes.shape == (total,)
    assert codes.dtype == np.int64
    assert 0 <= codes.min() <= codes.max() < janus.bundle.manifest.config.vq.codebook_size
    np.testing.assert_array_equal(codes, janus.encode(photo()))
    assert (codes != janus.encode(photo(8))).any()
    with pytest.raises(InputError, match="absent"):
        janus.encode(tmp_path / "absent.png")


def test_embed(janus: Janus, total: int) -> None:
    """Embeddings [T, H] float32 of an image, those of images beside it not mixed in."""
    hidden = janus.bundle.manifest.config.language.hidden_size
    embeds = janus.embed(photo())
    assert embeds.shape == (total, hidden)
    assert embeds.dtype == np.float32
    assert np.isfinite(embeds).all()
    assert np.abs(embeds - janus.embed(photo(3))).max() > 0.01
    with pytest.raises(InputError):
        janus.embed(3)  # type: ignore[arg-type]


def test_decode(janus: Janus, total: int) -> None:
    """Codes as an array, of any integer type, or as a list make one RGB picture."""
    codes = np.arange(total) * 5 % 128
    image = janus.decode(codes)
    assert image.mode == "RGB"
    assert image.size == (32, 32)
    assert image.tobytes() == janus.decode(codes.tolist()).tobytes()
    assert image.tobytes() == janus.decode(codes.astype(np.uint8)).tobytes()
    assert image.tobytes() != janus.decode(codes[::-1]).tobytes()


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (np.zeros(15, np.int64), r"16 integers, found int64 \(15,\)"),
        (np.zeros((1, 16), np.int64), r"found int64 \(1, 16\)"),
        (np.zeros(16), r"found float64"),
        ([0] * 15 + [128], "from 0 to 127, found 0 to 128"),
        ([-1] + [0] * 15, "from 0 to 127, found -1 to 0"),
        ([], r"\(0,\)"),
    ],
)
def test_decode_refuses(janus: Janus, codes: Any, words: str) -> None:
    """Anything but T codes of the codebook is refused."""
    with pytest.raises(InputError, match=words):
        janus.decode(codes)


def test_pictures_reach_the_encoders_as_they_are(janus: Janus) -> None:
    """Embedding does not resize anew what already has the model's size."""
    size = janus.bundle.manifest.config.image_size
    square = photo(2, (size, size))
    pixels = preprocess([square], size)
    expected = (np.asarray(square, np.float32) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(pixels[0].transpose(1, 2, 0), expected, atol=1e-6)
    np.testing.assert_array_equal(janus.embed(square), janus.embed(square.copy()))


def test_memory_before_the_work(janus: Janus) -> None:
    """The plan of a generation grows with its pictures by cache, logits and noise alone; several
    pictures of a prompt need the prompt's own rows too, until they are copied."""
    one, three = (janus.generation_memory("a cat", n) for n in (1, 3))
    (prompts,) = (item for item in three.items if item.what.startswith("prompts"))
    assert prompts.nbytes > 0
    rest = [item for item in three.items if item is not prompts]
    for alone, more in zip(one.items, rest, strict=True):
        shared = alone.what.startswith("weights")
        assert more.nbytes == alone.nbytes * (1 if shared else 3)
    assert one.total > 0
    with pytest.raises(InputError, match="no prompt"):
        janus.generation_memory([])


def test_context_manager_closes_the_backend(tiny_bundle: Path) -> None:
    """Leaving the block frees the sessions, also when it is left by an error; a later call opens
    what it needs again."""
    with pytest.raises(ZeroDivisionError), Janus.load(tiny_bundle, threads=1) as opened:
        before = opened.encode(photo())
        assert opened.backend._sessions  # type: ignore[attr-defined]
        1 / 0  # noqa: B018
    assert not opened.backend._sessions  # type: ignore[attr-defined]
    np.testing.assert_array_equal(opened.encode(photo()), before)


def test_only_what_is_needed_is_opened(tiny_bundle: Path) -> None:
    """Painting opens neither the vision encoder nor the text head, a question without images
    nothing of the painter's."""
    with Janus.load(tiny_bundle, threads=1) as opened:
        opened.describe(None, "what?", 2)
        assert {g.value for g in opened.backend._sessions} == {"language_model", "text_head"}  # type: ignore[attr-defined]
    with Janus.load(tiny_bundle, threads=1) as opened:
        opened.generate("a cat")
        assert {g.value for g in opened.backend._sessions} == {  # type: ignore[attr-defined]
            "language_model", "image_head", "image_embedding", "guided_sampler", "vq_decoder"
        }  # fmt: skip


def test_an_altered_graph_is_noticed(copied_bundle: Path) -> None:
    """A weight that was changed on disk fails at the first use of its graph, unless verify=False."""
    weights = copied_bundle / "graphs" / "vq_decoder.weights"
    data = bytearray(weights.read_bytes())
    data[1000] ^= 1
    weights.write_bytes(data)
    codes = np.zeros(16, np.int64)
    with Janus.load(copied_bundle) as opened, pytest.raises(BundleError, match="SHA-256"):
        opened.decode(codes)
    with Janus.load(copied_bundle, verify=False) as opened:
        assert opened.decode(codes).size == (32, 32)
