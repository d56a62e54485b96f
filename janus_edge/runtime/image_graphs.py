"""The graphs around the language model that take or give pictures, with their own signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus_edge.config import JanusConfig
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.image_processing import preprocess, to_image
from janus_edge.runtime.session import Backend


class ImageGraphs:
    """Vision encoder, VQ encoder and VQ decoder; one picture at a time bounds their scratch memory."""

    def __init__(self, config: JanusConfig, backend: Backend) -> None:
        self._config, self._backend = config, backend

    def embed(self, images: Sequence[Image.Image]) -> NDArray[Any]:
        """RGB images -> embeddings [N, T, H] in the language model's space, in the graph's dtype."""
        config = self._config
        shape = (len(images), config.image_tokens, config.language.hidden_size)
        embeds = np.zeros(shape, self._backend.float_dtype)
        session = self._backend.session(Graph.VISION_ENCODER)
        for index, image in enumerate(images):
            outputs = {"image_embeds": embeds[index : index + 1]}
            session.bind({"pixel_values": self._pixels(image)}, outputs)()
        return embeds

    def encode(self, image: Image.Image) -> NDArray[np.int64]:
        """An RGB image -> its VQ codes [T]."""
        codes = np.zeros((1, self._config.image_tokens), np.int64)
        session = self._backend.session(Graph.VQ_ENCODER)
        session.bind({"pixel_values": self._pixels(image)}, {"image_codes": codes})()
        row: NDArray[np.int64] = codes[0]
        return row

    def decode(self, codes: NDArray[np.integer[Any]] | Sequence[int]) -> Image.Image:
        """VQ codes [T] -> an RGB image; raises InputError unless they are T valid codes."""
        config, given = self._config, np.asarray(codes)
        if given.shape != (config.image_tokens,) or not np.issubdtype(given.dtype, np.integer):
            raise InputError(
                f"codes must be {config.image_tokens} integers, found {given.dtype} {given.shape}"
            )
        if not 0 <= given.min() <= given.max() < config.vq.codebook_size:
            raise InputError(
                f"codes must be from 0 to {config.vq.codebook_size - 1}, "
                f"found {given.min()} to {given.max()}"
            )
        shape = (1, 3, config.image_size, config.image_size)
        pixels = np.zeros(shape, self._backend.float_dtype)
        session = self._backend.session(Graph.VQ_DECODER)
        rows = np.ascontiguousarray(given[None], np.int64)
        session.bind({"image_codes": rows}, {"pixel_values": pixels})()
        return to_image(pixels[0])

    def _pixels(self, image: Image.Image) -> NDArray[Any]:
        return preprocess([image], self._config.image_size).astype(self._backend.float_dtype)
