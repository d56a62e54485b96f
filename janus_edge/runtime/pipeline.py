"""`Janus`: a bundle or an engine opened for painting, answering and reconstructing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus_edge.bundle import Bundle
from janus_edge.engine import Engine, open_bundle_or_engine
from janus_edge.errors import InputError
from janus_edge.runtime.chat import AnswerStream, Chat
from janus_edge.runtime.generation import (
    Parallel,
    check_settings,
    generation_steps,
    prompt_list,
    seed_list,
    widest,
    window_policy,
)
from janus_edge.runtime.image_decoding import ImageRequest
from janus_edge.runtime.image_graphs import ImageGraphs
from janus_edge.runtime.image_processing import load_image
from janus_edge.runtime.kv_cache import planned_capacity
from janus_edge.runtime.memory import MemoryPlan, chat_plan, generation_plan
from janus_edge.runtime.pass_costs import pass_costs
from janus_edge.runtime.picture import Answer, GenerationStep, Picture
from janus_edge.runtime.prompts import (
    DEFAULT_SYSTEM_PROMPT,
    Tokenizer,
    placeholder_positions,
    question_ids,
    text_to_image_ids,
    unconditional_ids,
)
from janus_edge.runtime.session import Backend, open_backend
from janus_edge.runtime.text_embeddings import TextEmbeddings
from janus_edge.runtime.window_policy import BestWindow

ImageSource = str | Path | Image.Image

#: Positions of a conversation's cache unless asked for otherwise (three pictures and their turns).
CHAT_CAPACITY = 2048


class Janus:
    """A Janus model: paints from text, answers about images, turns images into codes and back.

    Open it with :meth:`load`, as a context manager. Graphs are opened when they are first needed,
    so answering never loads the painter's and painting never the vision encoder. One instance
    serves one thread at a time.
    """

    def __init__(self, bundle: Bundle, backend: Backend, *, threads: int = 0) -> None:
        self.bundle, self.backend, self._threads = bundle, backend, threads
        manifest = bundle.manifest
        self.tokenizer = Tokenizer.from_file(
            bundle.file(manifest.tokenizer), manifest.special_tokens
        )
        self.text_embeddings = TextEmbeddings(bundle)
        self._image_graphs = ImageGraphs(manifest.config, backend)

    @classmethod
    def load(
        cls, path: str | Path, *, threads: int = 0, verify: bool = True, cuda_graph: bool = True
    ) -> Janus:
        """Open the bundle (on the CPU) or the engine (on what it was built for) at ``path``.

        ``threads`` 0 takes one per physical core. ``verify`` checks the SHA-256 of every file when
        it is first used. ``cuda_graph`` lets a GPU replay a captured step of painting. Raises
        BundleError, EngineError, BackendError, DependencyError.
        """
        bundle = open_bundle_or_engine(path, verify=verify)
        backend = open_backend(bundle, threads=threads, cuda_graph=cuda_graph)
        return cls(bundle, backend, threads=threads)

    def __enter__(self) -> Janus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model's memory; graphs are opened again if it is used once more."""
        self.backend.close()

    def generate(
        self,
        prompt: str | Sequence[str],
        images_per_prompt: int = 1,
        seed: int | Sequence[int] = 0,
        guidance_scale: float = 5.0,
        temperature: float = 1.0,
        parallel: Parallel = "off",
    ) -> list[Picture]:
        """Paint ``images_per_prompt`` pictures of each prompt, all in one batch.

        ``seed`` is that of all prompts, or a list with one for each. ``guidance_scale`` 1 is no
        guidance, 5 the original's default; ``temperature`` 0 always takes the most probable code.
        A picture depends on its prompt, its seed, its number among the pictures of its prompt,
        and the two settings: not on what else is in the batch (so a prompt given twice is painted
        twice alike). ``parallel`` is the most codes drawn per pass, or 'auto' for as many as
        pay off, and does not change the picture beyond rounding. Raises InputError, and CapacityError
        for a prompt that is too long.
        """
        for step in self.generate_steps(
            prompt, images_per_prompt, seed, guidance_scale, temperature, parallel
        ):
            if step.pictures:
                return list(step.pictures)
        raise AssertionError("the last step holds the pictures")

    def generate_steps(
        self,
        prompt: str | Sequence[str],
        images_per_prompt: int = 1,
        seed: int | Sequence[int] = 0,
        guidance_scale: float = 5.0,
        temperature: float = 1.0,
        parallel: Parallel = "off",
    ) -> Iterator[GenerationStep]:
        """As :meth:`generate`, a step at a time; closing the generator stops the work.

        Arguments are checked before the first step is asked for.
        """
        prompts = prompt_list(prompt)
        check_settings(images_per_prompt, guidance_scale, temperature)
        seeds = seed_list(seed, len(prompts))
        policy = window_policy(parallel, self._best_window)
        rows = [self.guidance_rows(text) for text in prompts]
        # refuse what does not fit now, not at the first step
        lengths = [len(conditional) for conditional, _ in rows]
        pictures = len(rows) * images_per_prompt
        generation_plan(self.bundle, lengths, pictures, widest(parallel)).check()
        prompt_of = [p for p in range(len(prompts)) for _ in range(images_per_prompt)]
        indices = list(range(images_per_prompt)) * len(prompts)
        request = ImageRequest(
            rows, prompt_of, [seeds[p] for p in prompt_of], indices, guidance_scale, temperature
        )
        config = self.bundle.manifest.config
        return generation_steps(config, self.backend, prompts, request, policy, self.decode)

    @overload
    def describe(
        self, images: ImageSource | Sequence[ImageSource] | None, question: str,
        max_new_tokens: int = ..., temperature: float = ..., *, stream: Literal[False] = ...,
        top_p: float = ..., seed: int = ...,
    ) -> Answer: ...  # fmt: skip

    @overload
    def describe(
        self, images: ImageSource | Sequence[ImageSource] | None, question: str,
        max_new_tokens: int = ..., temperature: float = ..., *, stream: Literal[True],
        top_p: float = ..., seed: int = ...,
    ) -> AnswerStream: ...  # fmt: skip

    def describe(
        self,
        images: ImageSource | Sequence[ImageSource] | None,
        question: str,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        *,
        stream: bool = False,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Answer | AnswerStream:
        """Answer a question about one image, several, or none.

        With ``stream`` the answer comes as an iterator over pieces of text whose ``answer`` is
        complete at its end. ``temperature`` 0 (the default) is greedy. ``<image_placeholder>`` in
        the question is the place of each image; without it they come first. Raises InputError,
        and CapacityError when question and answer do not fit the model's positions.
        """
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, found {max_new_tokens}")
        opened, config = self.open_images(images), self.bundle.manifest.config
        ids = question_ids(self.tokenizer, question, len(opened), config.image_tokens)
        capacity = planned_capacity(config.language, [len(ids)], max_new_tokens - 1)
        chat = Chat(self, capacity)
        answer = chat.stream(
            question, opened, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p,
            seed=seed,
        )  # fmt: skip
        if stream:
            return answer
        for _ in answer:
            pass
        return answer.answer

    def chat(
        self, *, capacity: int | None = None, system_prompt: str = DEFAULT_SYSTEM_PROMPT
    ) -> Chat:
        """Open a conversation with room for ``capacity`` tokens (an image takes ``image_tokens``).

        Without it: CHAT_CAPACITY, or all positions of a model or an engine that has fewer. Raises
        InputError unless 1 <= capacity <= these.
        """
        positions = self._chat_capacity(capacity)
        chat_plan(self.bundle, positions).check()
        return Chat(self, positions, system_prompt)

    def encode(self, image: ImageSource) -> NDArray[np.int64]:
        """The VQ codes [T] of an image, row by row; it is fitted into the model's square first."""
        return self._image_graphs.encode(load_image(image))

    def decode(self, codes: NDArray[np.integer[Any]] | Sequence[int]) -> Image.Image:
        """The picture that codes [T] stand for; raises InputError unless they are T valid codes."""
        return self._image_graphs.decode(codes)

    def embed(self, image: ImageSource) -> NDArray[np.float32]:
        """The vision encoder's embeddings [T, H] of an image, in the language model's space."""
        embeds: NDArray[np.float32] = self._image_graphs.embed([load_image(image)])[0].astype("f4")
        return embeds

    def generation_memory(
        self,
        prompts: str | Sequence[str],
        images_per_prompt: int = 1,
        parallel: Parallel = "off",
    ) -> MemoryPlan:
        """What :meth:`generate` will keep in memory, before it is called."""
        rows = [text_to_image_ids(self.tokenizer, text) for text in prompt_list(prompts)]
        lengths, pictures = [len(r) for r in rows], len(rows) * images_per_prompt
        return generation_plan(self.bundle, lengths, pictures, widest(parallel))

    def chat_memory(self, capacity: int | None = None) -> MemoryPlan:
        """What a conversation will keep in memory; ``capacity`` as in :meth:`chat`."""
        return chat_plan(self.bundle, self._chat_capacity(capacity))

    def open_images(self, images: ImageSource | Sequence[ImageSource] | None) -> list[Image.Image]:
        """Files and PIL images as RGB images; raises InputError for what is not an image."""
        if images is None:
            return []
        if isinstance(images, (str, Path, Image.Image)):
            images = [images]
        return [load_image(image) for image in images]

    def embed_prompt(self, ids: Sequence[int], images: Sequence[Image.Image]) -> NDArray[Any]:
        """Token ids [S] -> embeddings [S, H], with the images' in the places of placeholders."""
        rows = np.array(self.text_embeddings(ids))
        if images:
            places = placeholder_positions(ids, self.tokenizer.special)
            rows[places] = self._image_graphs.embed(images).reshape(len(places), -1)
        return rows

    def _best_window(self) -> BestWindow:
        """The policy of 'auto', from what a pass costs here (measured at the first call)."""
        return BestWindow(pass_costs(self.bundle, self.backend, self._threads))

    def guidance_rows(self, prompt: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Embeddings of a prompt's conditional and unconditional row, [S, H] each."""
        ids = text_to_image_ids(self.tokenizer, prompt)
        unconditional = unconditional_ids(ids, self.tokenizer.special)
        return self.text_embeddings(ids), self.text_embeddings(unconditional)

    def _chat_capacity(self, capacity: int | None) -> int:
        most, whose = self.bundle.manifest.config.language.max_positions, "model"
        if isinstance(self.bundle, Engine) and self.bundle.manifest.plans:
            most, whose = self.bundle.manifest.capacities[-1], "engine"
        if capacity is None:
            return min(CHAT_CAPACITY, most)
        if not 1 <= capacity <= most:
            raise InputError(
                f"capacity must be from 1 to the {whose}'s {most} positions, found {capacity}"
            )
        return capacity
