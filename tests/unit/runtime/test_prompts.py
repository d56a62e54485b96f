"""Prompts and streaming, against an independent statement of the original's conversation rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers

from janus_edge.config import SPECIAL_TOKEN_STRINGS, SpecialTokens
from janus_edge.errors import BundleError, InputError
from janus_edge.runtime.prompts import (
    DEFAULT_SYSTEM_PROMPT,
    StreamDecoder,
    Tokenizer,
    follow_up_ids,
    placeholder_positions,
    question_ids,
    text_to_image_ids,
    unconditional_ids,
)

USER, ASSISTANT = "<|User|>", "<|Assistant|>"
BOS, EOS = SPECIAL_TOKEN_STRINGS["bos"], SPECIAL_TOKEN_STRINGS["eos"]
IMAGE = SPECIAL_TOKEN_STRINGS["image_placeholder"]
CORPUS = [
    "You are a helpful assistant. What is in the picture: a red fox in the snow?\n\n1234567890"
]

#: hypothesis also tries the strings it finds in the sources, and so the special tokens
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(
    lambda text: IMAGE not in text
)
contents = texts.filter(str.strip)


def byte_level_tokenizer(roles: bool = True) -> tokenizers.Tokenizer:
    """A small byte-level BPE that splits and adds BOS in the manner of the Janus tokenizer."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\r\n]"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{P}+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    added = [*SPECIAL_TOKEN_STRINGS.values(), *([USER, ASSISTANT] if roles else [])]
    backend.add_special_tokens([AddedToken(text, special=True) for text in added])
    bos = backend.token_to_id(BOS)
    assert bos is not None
    backend.post_processor = processors.TemplateProcessing(f"{BOS} $A", None, [(BOS, bos)])
    return backend


BACKEND = byte_level_tokenizer()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bundle") / "tokenizer.json"
    BACKEND.save(str(file))
    return file


@pytest.fixture(scope="module")
def tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(path)


def conversation(system: str, messages: list[str]) -> str:
    """The original's text for user and assistant messages in turn."""
    ends = ["\n\n", EOS]
    parts = [system + "\n\n"] if system else []
    for number, message in enumerate(text.strip() for text in messages):
        role = [USER, ASSISTANT][number % 2]
        parts.append(f"{role}: {message}{ends[number % 2]}" if message else f"{role}:")
    return "".join(parts).strip()


def original_ids(text: str, image_tokens: int = 0) -> list[int]:
    """Tokenised behind a BOS (the file's own post-processor adds it), placeholders expanded."""
    strings = {name: BACKEND.token_to_id(token) for name, token in SPECIAL_TOKEN_STRINGS.items()}
    ids: list[int] = []
    for token in BACKEND.encode(text).ids:
        if token == strings["image_placeholder"]:
            ids += [strings["image_start"], *[token] * image_tokens, strings["image_end"]]
        else:
            ids.append(token)
    return ids


def test_encode_adds_nothing_and_decode_inverts(tokenizer: Tokenizer) -> None:
    """No BOS, whatever the post-processor would add; decoding gives the text back."""
    text = "a red fox 🦊 in 雪\n\n42"
    assert tokenizer.special.bos not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("") == []


def test_decode_skips_special_tokens_unless_asked(tokenizer: Tokenizer) -> None:
    """EOS is not part of the text of an answer."""
    ids = [*tokenizer.encode("fox"), tokenizer.special.eos]
    assert tokenizer.decode(ids) == "fox"
    assert tokenizer.decode(ids, skip_special=False) == "fox" + EOS


def test_from_file_checks_the_model_and_the_file_against_each_other(
    path: Path, tokenizer: Tokenizer
) -> None:
    """The ids come from the strings, and other ids in the manifest are a BundleError."""
    special = tokenizer.special
    assert special.image_start == BACKEND.token_to_id("<begin_of_image>")
    assert Tokenizer.from_file(path, special).special == special
    wrong = SpecialTokens(0, 1, 2, 3, 4, 5)
    with pytest.raises(BundleError, match="same checkpoint"):
        Tokenizer.from_file(path, wrong)


def test_from_file_says_what_is_wrong(tmp_path: Path) -> None:
    """A missing file, other JSON, no JSON, and a tokenizer of another model are BundleErrors."""
    file = tmp_path / "tokenizer.json"
    with pytest.raises(BundleError, match="no such tokenizer"):
        Tokenizer.from_file(file)
    for content in ("{}", "not json", ""):
        file.write_text(content)
        with pytest.raises(BundleError, match="not a tokenizer"):
            Tokenizer.from_file(file)
    tokenizers.Tokenizer(models.BPE()).save(str(file))
    with pytest.raises(BundleError, match="has no token"):
        Tokenizer.from_file(file)


def test_roles_follow_the_vocabulary(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Without Janus-Pro's role tokens the roles are Janus-1.3B's plain words."""
    file = tmp_path / "tokenizer.json"
    byte_level_tokenizer(roles=False).save(str(file))
    older = Tokenizer.from_file(file)
    assert tokenizer.roles == (USER, ASSISTANT)
    text = older.decode(text_to_image_ids(older, "fox"), skip_special=False)
    assert text == f"{BOS}User: fox\n\nAssistant:<begin_of_image>"


@given(prompt=texts)
@settings(deadline=None)
def test_text_to_image_is_the_originals_template(tokenizer: Tokenizer, prompt: str) -> None:
    """The conversation without a system prompt, and image_start, for any prompt, even empty."""
    expected = original_ids(conversation("", [prompt, ""]) + "<begin_of_image>")
    assert text_to_image_ids(tokenizer, prompt) == expected


def test_text_to_image_written_out(tokenizer: Tokenizer) -> None:
    """The prompt is stripped; an empty one leaves the bare roles."""
    for prompt, expected in [
        ("  a fox \n", f"{BOS}{USER}: a fox\n\n{ASSISTANT}:<begin_of_image>"),
        (" \n", f"{BOS}{USER}:{ASSISTANT}:<begin_of_image>"),
    ]:
        ids = text_to_image_ids(tokenizer, prompt)
        assert tokenizer.decode(ids, skip_special=False) == expected


def test_unconditional_keeps_both_ends(tokenizer: Tokenizer) -> None:
    """BOS and image_start stay, everything between is pad, the length is the same."""
    special = tokenizer.special
    ids = text_to_image_ids(tokenizer, "a red fox")
    row = unconditional_ids(ids, special)
    assert len(row) == len(ids)
    assert (row[0], row[-1]) == (special.bos, special.image_start)
    assert set(row[1:-1]) == {special.pad}
    assert unconditional_ids([1, 2], special) == [1, 2]
    with pytest.raises(InputError, match="at least two"):
        unconditional_ids([1], special)


@given(
    question=texts,
    images=st.integers(0, 3),
    system=st.sampled_from([DEFAULT_SYSTEM_PROMPT, "", " x "]),
)
@settings(deadline=None)
def test_question_is_the_originals_template(
    tokenizer: Tokenizer, question: str, images: int, system: str
) -> None:
    """Pictures go in front when the text has no places for them; any system prompt, even none."""
    expected = original_ids(conversation(system, [f"{IMAGE}\n" * images + question, ""]), 4)
    assert question_ids(tokenizer, question, images, 4, system) == expected


def test_placeholders_in_the_text_are_the_places(tokenizer: Tokenizer) -> None:
    """Places inside the question are kept and expanded, and their positions are found in order."""
    question = f"{IMAGE} is one.\n{IMAGE} is two. Which?"
    ids = question_ids(tokenizer, question, 2, 3)
    assert ids == original_ids(conversation(DEFAULT_SYSTEM_PROMPT, [question, ""]), 3)
    positions = placeholder_positions(ids, tokenizer.special)
    assert positions.dtype == np.int64
    assert len(positions) == 6
    start, end = positions[0], positions[2]
    assert ids[start - 1] == tokenizer.special.image_start
    assert ids[end + 1] == tokenizer.special.image_end
    assert placeholder_positions([], tokenizer.special).shape == (0,)


@pytest.mark.parametrize(
    ("question", "images", "places"),
    [(f"{IMAGE} a", 2, 1), (f"{IMAGE}{IMAGE}", 1, 2), (IMAGE, 0, 1)],
)
def test_mismatched_images_give_both_numbers(
    tokenizer: Tokenizer, question: str, images: int, places: int
) -> None:
    """More or fewer images than places is an InputError, in the first turn and later."""
    for make in (question_ids, follow_up_ids):
        with pytest.raises(InputError, match=f"{places} {IMAGE} and {images} images"):
            make(tokenizer, question, images, 4)


@given(
    first=texts,
    turns=st.lists(st.tuples(contents, texts, st.integers(0, 2)), min_size=1, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_follow_up_law(tokenizer: Tokenizer, first: str, turns: list[tuple[str, str, int]]) -> None:
    """First turn + answers + follow-ups is the template over the whole conversation."""
    ids = question_ids(tokenizer, first, 1, 4)
    messages = [f"{IMAGE}\n{first}"]
    for answer, question, images in turns:
        ids += tokenizer.encode(" " + answer.strip())
        ids += follow_up_ids(tokenizer, question, images, 4)
        messages += [answer, f"{IMAGE}\n" * images + question]
    assert ids == original_ids(conversation(DEFAULT_SYSTEM_PROMPT, [*messages, ""]), 4)


@pytest.mark.parametrize("wrong", [None, 7, b"fox", ["fox"]])
def test_prompts_must_be_strings(tokenizer: Tokenizer, wrong: object) -> None:
    """Anything but a string is an InputError that names the type."""
    for call in (
        lambda: text_to_image_ids(tokenizer, wrong),  # type: ignore[arg-type]
        lambda: question_ids(tokenizer, wrong, 0, 4),  # type: ignore[arg-type]
        lambda: follow_up_ids(tokenizer, wrong),  # type: ignore[arg-type]
        lambda: tokenizer.encode(wrong),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError, match=type(wrong).__name__):
            call()


def test_lone_surrogates_are_an_input_error(tokenizer: Tokenizer) -> None:
    """Undecodable bytes of a command line are an InputError, not a crash in the tokenizer."""
    with pytest.raises(InputError, match="Unicode"):
        text_to_image_ids(tokenizer, "fox \udcff")


@given(ids=st.lists(st.integers(0, BACKEND.get_vocab_size() + 3), max_size=40), skip=st.booleans())
@settings(max_examples=300, deadline=None)
def test_streaming_any_ids_equals_decode(tokenizer: Tokenizer, ids: list[int], skip: bool) -> None:
    """The pieces joined are the whole text, even for bytes that are no UTF-8 and unknown ids."""
    decoder = StreamDecoder(tokenizer, skip)
    pieces = [decoder.feed(token) for token in ids]
    assert "".join([*pieces, decoder.flush()]) == tokenizer.decode(ids, skip)
    assert decoder.flush() == ""


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
@settings(deadline=None)
def test_streaming_never_emits_half_a_character(tokenizer: Tokenizer, text: str) -> None:
    """Of valid text every piece is valid, nothing waits once a character is whole."""
    decoder = StreamDecoder(tokenizer, skip_special=False)
    pieces = [decoder.feed(token) for token in tokenizer.encode(text)]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) == text
    assert decoder.flush() == ""


def test_streaming_an_emoji_byte_by_byte(tokenizer: Tokenizer) -> None:
    """Four one-byte tokens give nothing, nothing, nothing and the emoji; cut short, one U+FFFD."""
    ids = tokenizer.encode("🦊")
    assert len(ids) == 4
    decoder = StreamDecoder(tokenizer)
    assert [decoder.feed(token) for token in ids] == ["", "", "", "🦊"]
    assert [decoder.feed(token) for token in ids[:3]] == ["", "", ""]
    assert decoder.flush() == "\ufffd"
    assert decoder.feed(tokenizer.encode("a")[0]) == "a"


def test_fixture_adds_bos_itself(path: Path) -> None:
    """The reference in this file relies on a post-processor that adds BOS."""
    assert json.loads(path.read_text("utf-8"))["post_processor"]
    assert BACKEND.encode("x").ids[0] == BACKEND.token_to_id(BOS)
