"""The tokenizer of a synthetic checkpoint: a small byte-level BPE with Janus' special tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from janus_edge.config import SPECIAL_TOKEN_STRINGS, SpecialTokens
from janus_edge.errors import InputError

_ROLES = ("<|User|>", "<|Assistant|>")
#: From this vocabulary on, the special tokens lie at ids like those of the published checkpoints.
_PUBLISHED_VOCABULARY = 102400
_PUBLISHED_IDS = (100000, 100001, 100015, 100016, 100581, 100593, 100601, 100602)
_MERGES = 1000

_SENTENCES = (
    "A small red house stands beside a lake, with mountains and a clear blue sky behind it.",
    "You are a helpful assistant that understands pictures and answers questions about them.",
    "The user provides an image and asks: what is in this picture, and where was it taken?",
    "Draw a photograph of a cat that sleeps on a wooden table in the warm evening light.",
    "Please describe the visual content of the image in a few words of natural language.",
    "Astronaut, camera, colour, portrait, space suit, flag, smile, close-up, high detail.",
)


def special_tokens(vocab_size: int) -> SpecialTokens:
    """The ids of the special tokens in a synthetic vocabulary of ``vocab_size``.

    Raises InputError if bytes and special tokens do not fit.
    """
    return SpecialTokens(**dict(zip(SPECIAL_TOKEN_STRINGS, _added_ids(vocab_size), strict=False)))


def build_tokenizer(vocab_size: int, sentences: Sequence[str] = _SENTENCES) -> tokenizers.Tokenizer:
    """A tokenizer whose ids are below ``vocab_size``; its merges are learnt from ``sentences``.

    The 256 bytes come first; the special tokens right behind them or, in a vocabulary of the
    published size, at ids like the published ones (the ids between may then be free); the rest are
    merges. It adds no BOS by itself.
    """
    texts = (*SPECIAL_TOKEN_STRINGS.values(), *_ROLES)
    added = dict(zip(texts, _added_ids(vocab_size), strict=True))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {byte: i for i, byte in enumerate(alphabet)} | added
    taken = set(added.values())
    free = (i for i in range(len(alphabet), vocab_size) if i not in taken)
    merges = []
    for pair, i in zip(_merges(sentences), free, strict=False):
        merges.append(pair)
        vocab["".join(pair)] = i
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKEN_STRINGS.values()]
    )
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in _ROLES])
    return tokenizer


def _added_ids(vocab_size: int) -> tuple[int, ...]:
    if vocab_size >= _PUBLISHED_VOCABULARY:
        return _PUBLISHED_IDS
    first, count = 256, len(_PUBLISHED_IDS)
    if vocab_size < first + count:
        raise InputError(
            f"a vocabulary of {vocab_size} has no room for 256 bytes and {count} special tokens: "
            f"make it at least {first + count}"
        )
    return tuple(range(first, first + count))


def _merges(sentences: Sequence[str]) -> list[tuple[str, str]]:
    """Merges of a byte-level BPE learnt from ``sentences``, most frequent first."""
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + _MERGES,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(sentences, trainer)
    return [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]
