"""A conversation: turns that share one KV cache, and the stream of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from janus_edge.errors import InputError
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.picture import Answer
from janus_edge.runtime.prompts import (
    DEFAULT_SYSTEM_PROMPT,
    StreamDecoder,
    Tokenizer,
    follow_up_ids,
    question_ids,
)
from janus_edge.runtime.text_decoding import answer_tokens
from janus_edge.runtime.text_sampler import make_text_sampler

if TYPE_CHECKING:
    from janus_edge.runtime.pipeline import ImageSource, Janus


class AnswerStream(Iterator[str]):
    """The pieces of an answer as they are decoded; ``answer`` once it has ended.

    Closing it early (or leaving its ``with`` block) stops the model; ``answer`` then holds what
    was said until then, with ``finish_reason`` ``length``.
    """

    def __init__(self, tokens: Iterator[int], tokenizer: Tokenizer, prompt_tokens: int) -> None:
        self._tokenizer, self._prompt_tokens = tokenizer, prompt_tokens
        self._ids: list[int] = []
        self._ended: str | None = None
        self._pieces = self._decode(tokens)
        self._tokens = tokens

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop here; the conversation can go on from it."""
        self._pieces.close()  # type: ignore[attr-defined]
        self._tokens.close()  # type: ignore[attr-defined]
        self._ended = self._ended or "length"

    @property
    def answer(self) -> Answer:
        """The whole answer; raises InputError while it is still being decoded."""
        if self._ended is None:
            raise InputError("the answer is not complete: iterate to its end, or close() it, first")
        text = self._tokenizer.decode(self._ids).strip()
        reason: Any = self._ended
        return Answer(text, tuple(self._ids), reason, self._prompt_tokens)

    def _decode(self, tokens: Iterator[int]) -> Iterator[str]:
        decoder, started = StreamDecoder(self._tokenizer), False
        for token in tokens:
            if token == self._tokenizer.special.eos:
                self._ended = "stop"
                break
            self._ids.append(token)
            piece = decoder.feed(token)
            # the template puts a space in front of every answer
            piece = piece if started else piece.lstrip()
            started = started or bool(piece)
            if piece:
                yield piece
        rest = decoder.flush()
        self._ended = self._ended or "length"
        if rest:
            yield rest


class Chat:
    """A conversation whose cache stays between turns; made by :meth:`Janus.chat`.

    A turn costs the new tokens only. Turns may bring images. When the cache is full, a question is
    refused with CapacityError and the conversation stays as it was.
    """

    def __init__(
        self, janus: Janus, capacity: int, system_prompt: str = DEFAULT_SYSTEM_PROMPT
    ) -> None:
        config = janus.bundle.manifest.config
        self._janus, self._system_prompt = janus, system_prompt
        self._cache = KVCache.of(janus.backend, config.language, 1, capacity)
        self._pending: list[int] = []  # tokens said that are not in the cache yet
        self._turns = 0

    @property
    def positions(self) -> tuple[int, int]:
        """Positions of the cache that are used, and that there are."""
        return int(self._cache.lengths[0]), self._cache.capacity

    def ask(
        self,
        question: str,
        images: ImageSource | Sequence[ImageSource] | None = None,
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Answer:
        """Ask, and wait for the whole answer. Arguments and errors as :meth:`stream`."""
        stream = self.stream(
            question, images, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p,
            seed=seed,
        )  # fmt: skip
        for _ in stream:
            pass
        return stream.answer

    def stream(
        self,
        question: str,
        images: ImageSource | Sequence[ImageSource] | None = None,
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> AnswerStream:
        """Ask, and get the answer piece by piece.

        ``images`` are files or PIL images, one or several; ``<image_placeholder>`` in the question
        is the place of each, in order, otherwise they come first. ``temperature`` 0 is greedy;
        otherwise tokens are drawn from the nucleus ``top_p`` with noise from ``seed``. The answer
        ends at ``max_new_tokens`` or where the cache is full. An answer to an earlier question that
        is still open ends with it. Raises InputError, CapacityError.
        """
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, found {max_new_tokens}")
        sample = make_text_sampler(temperature, top_p, seed)
        pictures = self._janus.open_images(images)
        ids = self._turn(question, len(pictures))
        self._cache.check_room(len(ids), what="the question")
        prompt = self._janus.embed_prompt(ids, pictures)
        room = self._cache.capacity - int(self._cache.lengths[0]) - len(ids)
        tokens = answer_tokens(
            self._janus.bundle.manifest.config,
            self._janus.backend,
            self._janus.text_embeddings,
            self._cache,
            prompt,
            sample,
            stop=self._janus.tokenizer.special.eos,
            max_new_tokens=min(max_new_tokens, room + 1),
        )
        held = int(self._cache.lengths[0])
        self._turns += 1
        kept = self._keeping_pending(tokens, self._turns)
        return AnswerStream(kept, self._janus.tokenizer, held + len(ids))

    def _turn(self, question: str, images: int) -> list[int]:
        tokenizer = self._janus.tokenizer
        image_tokens = self._janus.bundle.manifest.config.image_tokens
        if self._cache.lengths[0] == 0:
            return question_ids(tokenizer, question, images, image_tokens, self._system_prompt)
        return self._pending + follow_up_ids(tokenizer, question, images, image_tokens)

    def _keeping_pending(self, tokens: Iterator[int], turn: int) -> Iterator[int]:
        """Remember the last token, which the cache does not hold, for the next turn.

        Ends where a later turn has begun. A turn that fails leaves the cache as it was when the
        token before was said, or when it was asked.
        """
        held = int(self._cache.lengths[0])
        try:
            while turn == self._turns and (token := next(tokens, None)) is not None:
                held = int(self._cache.lengths[0])
                # EOS opens the next turn's tokens (follow_up_ids)
                self._pending = [] if token == self._janus.tokenizer.special.eos else [token]
                yield token
        finally:
            tokens.close()  # type: ignore[attr-defined]
            if turn == self._turns:
                self._cache.lengths[:] = held
