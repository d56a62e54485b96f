"""Prompts as rows of token ids: the tokenizer, and the original's chat template.

Template (deepseek-ai/Janus, ``janus/utils/conversation.py``, style ``deepseek``): the system prompt
and a blank line, then ``<|User|>: question``, a blank line, ``<|Assistant|>: answer``, EOS, and so
on; a message that is empty leaves only its role and a colon. ``processing_vlm.py`` strips each
message and the whole, tokenises it behind a BOS, and then puts image_start, one placeholder per
image token and image_end in the place of each ``<image_placeholder>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from janus_edge.config import SPECIAL_TOKEN_STRINGS, SpecialTokens
from janus_edge.errors import BundleError, InputError

#: ``VLChatProcessor.system_prompt`` of the original: part of what the model was tuned on.
DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)

#: The roles of Janus-Pro, and those that the original's examples give to Janus-1.3B.
PRO_ROLES = ("<|User|>", "<|Assistant|>")
PLAIN_ROLES = ("User", "Assistant")

_IMAGE_TAG = SPECIAL_TOKEN_STRINGS["image_placeholder"]


class Tokenizer:
    """A ``tokenizer.json`` and the ids of the special tokens; it never adds BOS by itself.

    ``roles`` are the names of the user and the assistant in the template: Janus-Pro's where the
    vocabulary has them as single tokens, else the plain words of Janus-1.3B.
    """

    def __init__(self, backend: tokenizers.Tokenizer, special: SpecialTokens) -> None:
        self.special = special
        known = all(backend.token_to_id(role) is not None for role in PRO_ROLES)
        self.roles = PRO_ROLES if known else PLAIN_ROLES
        self._backend = backend

    @classmethod
    def from_file(cls, path: str | Path, special: SpecialTokens | None = None) -> Tokenizer:
        """Read ``tokenizer.json``; the ids in ``special`` must be those of the file, if given.

        Raises BundleError if the file is missing, is not a tokenizer, or lacks a special token.
        """
        if not Path(path).is_file():
            raise BundleError(f"{path}: no such tokenizer file; export the bundle again")
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as invalid:  # the only type that the tokenizers library raises
            raise BundleError(
                f"{path}: not a tokenizer ({invalid}); export the bundle again"
            ) from invalid
        found: dict[str, int] = {}
        for name, string in SPECIAL_TOKEN_STRINGS.items():
            token = backend.token_to_id(string)
            if token is None:
                raise BundleError(f"{path}: has no token {string}; use a Janus tokenizer")
            found[name] = token
        if special is not None and found != asdict(special):
            raise BundleError(
                f"{path}: its special tokens are {found}, the model's are {asdict(special)}; "
                f"use the tokenizer of the same checkpoint"
            )
        return cls(backend, SpecialTokens(**found))

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, without BOS; strings of special tokens become those tokens.

        Raises InputError for what is not a string, or has lone surrogates.
        """
        try:
            _text(text, "text").encode()
        except UnicodeEncodeError as broken:
            raise InputError(
                f"the text is not valid Unicode ({broken.reason}); type it again"
            ) from broken
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of ``ids``; bytes that are not UTF-8 become U+FFFD."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special)


class StreamDecoder:
    """Text of one answer as its tokens arrive: the pieces joined equal ``decode`` of all ids.

    Holds for byte-level tokenizers (Janus'), where only the end of the bytes so far can still
    change: an unfinished character decodes to exactly one U+FFFD, the last.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._pending: list[int] = []
        self._emitted = 0  # characters of the pending ids' text that are already out

    def feed(self, token: int) -> str:
        """What ``token`` adds to the text, without a character that is still unfinished."""
        self._pending.append(token)
        text = self._tokenizer.decode(self._pending, self._skip_special)
        unfinished = text.endswith("\N{REPLACEMENT CHARACTER}")
        piece = text[self._emitted : len(text) - unfinished]
        self._emitted += len(piece)
        if not unfinished:
            self._pending, self._emitted = [], 0
        return piece

    def flush(self) -> str:
        """The rest at the end of the answer: '' or one U+FFFD; the decoder is as new afterwards."""
        text = self._tokenizer.decode(self._pending, self._skip_special)[self._emitted :]
        self._pending, self._emitted = [], 0
        return text


def text_to_image_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """BOS, the prompt as the only message, the assistant's role, image_start; no system prompt.

    An empty prompt leaves the bare roles. Raises InputError if ``prompt`` is not a string.
    """
    ids = tokenizer.encode(_turn(tokenizer.roles, _text(prompt, "prompt").strip()))
    return [tokenizer.special.bos, *ids, tokenizer.special.image_start]


def unconditional_ids(ids: Sequence[int], special: SpecialTokens) -> list[int]:
    """The row that guidance steers away from: the first and last token of ``ids``, the rest pad.

    The pads are attended like any token (the original's ``generation_inference.py``). Raises
    InputError for fewer than two ids.
    """
    if len(ids) < 2:
        raise InputError(f"a text-to-image prompt has at least two tokens, found {len(ids)}")
    return [ids[0], *([special.pad] * (len(ids) - 2)), ids[-1]]


def question_ids(
    tokenizer: Tokenizer,
    question: str,
    images: int,
    image_tokens: int,
    system_prompt: str = DEFAULT_SYSTEM_PROMPT,
) -> list[int]:
    """The first turn of a conversation about ``images`` pictures (0 for none).

    Each ``<image_placeholder>`` in the question is the place of the next picture; if there is none,
    the pictures go in front. Raises InputError if the places and ``images`` differ in number.
    """
    turn = _turn(tokenizer.roles, _placed(question, images))
    system = _text(system_prompt, "system prompt")
    ids = tokenizer.encode(f"{system}\n\n{turn}".strip())
    return [tokenizer.special.bos, *_expanded(ids, tokenizer.special, images, image_tokens)]


def follow_up_ids(
    tokenizer: Tokenizer, question: str, images: int = 0, image_tokens: int = 0
) -> list[int]:
    """What a further turn appends to a conversation: EOS behind the answer, then the new question.

    The row so far, without an EOS, and these ids together equal the template over the whole
    conversation, provided the answer is not empty and its tokens are those of ``" " + answer``.
    Pictures and errors as in :func:`question_ids`.
    """
    ids = tokenizer.encode(_turn(tokenizer.roles, _placed(question, images)))
    return [tokenizer.special.eos, *_expanded(ids, tokenizer.special, images, image_tokens)]


def placeholder_positions(ids: Sequence[int], special: SpecialTokens) -> NDArray[np.int64]:
    """Positions [n] int64 in ``ids`` that image embeddings replace, in order."""
    return np.flatnonzero(np.asarray(ids, np.int64) == special.image_placeholder).astype(np.int64)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"the {what} must be a string, found {type(value).__name__}")
    return value


def _turn(roles: tuple[str, str], content: str) -> str:
    user, assistant = roles
    return f"{user}: {content}\n\n{assistant}:" if content else f"{user}:{assistant}:"


def _placed(question: str, images: int) -> str:
    content = _text(question, "question")
    if _IMAGE_TAG not in content:
        content = f"{_IMAGE_TAG}\n" * images + content
    return content.strip()


def _expanded(
    ids: Iterable[int], special: SpecialTokens, images: int, image_tokens: int
) -> list[int]:
    placeholders = [special.image_placeholder] * image_tokens
    picture = [special.image_start, *placeholders, special.image_end]
    row: list[int] = []
    places = 0
    for token in ids:
        found = token == special.image_placeholder
        places += found
        row.extend(picture if found else (token,))
    if places != images:
        raise InputError(
            f"the text has {places} {_IMAGE_TAG} and {images} images were given; give one image "
            f"for each, or leave the placeholders out to put all images in front"
        )
    return row
