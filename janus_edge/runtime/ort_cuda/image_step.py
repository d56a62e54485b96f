"""One step of painting on the device, in memory that stays where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.config import JanusConfig
from janus_edge.graphs import Graph, cache_names
from janus_edge.runtime.image_decoding import ImageRequest
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.ort_cuda.device_array import DeviceArray
from janus_edge.runtime.ort_cuda.device_cache import cache_on_device
from janus_edge.runtime.ort_cuda.session import Place
from janus_edge.runtime.session import Call

if TYPE_CHECKING:
    from janus_edge.runtime.ort_cuda.backend import OrtCudaBackend

#: An array stands for its whole place.
_Whole = DeviceArray | Place

#: The graphs of a step, in order.
STEP_GRAPHS = (
    Graph.IMAGE_EMBEDDING,
    Graph.LANGUAGE_MODEL,
    Graph.IMAGE_HEAD,
    Graph.GUIDED_SAMPLER,
)


class ImageStep:
    """From the codes [P] of the last position to the logits [2P, K], and from noise to codes.

        codes -> image_embedding -> language_model -> image_head -> logits    (to the host)
                          noise, from the host, and logits -> guided_sampler -> codes  (to the host)

    Hidden states, codes and the cache do not leave the device. Each graph is captured for this
    step's memory; another step whose memory lies in the same places, as that of the next request of
    this size often does, replays what was captured. ``hidden`` [2P, H] are the prompts' last states.
    """

    def __init__(
        self,
        config: JanusConfig,
        backend: OrtCudaBackend,
        request: ImageRequest,
        cache: KVCache,
        hidden: NDArray[Any],
    ) -> None:
        self._provider = backend.provider
        self._lengths = cache.lengths
        pictures, rows = len(request.prompt_of), cache.rows
        size, width = config.vq.codebook_size, config.language.hidden_size
        floats = backend.float_dtype
        # no noise at temperature 0, so dividing by 1 finds the same maximum
        divisor = request.temperature or 1.0

        def place(what: str, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
            return DeviceArray(self._provider, shape, dtype, what)

        self._codes = place("codes", (pictures,), np.int64)
        self._logits = place("logits", (rows, size), floats)
        self._noise = place("noise", (pictures, size), np.float32)
        self._past = place("lengths", (rows,), np.int64)
        embeds, states = place("embeddings", (rows, 1, width), floats), hidden[:, None]
        self._hidden = place("hidden states", (rows, 1, width), floats)
        scale, temperature = (place("settings", (), np.float32) for _ in range(2))
        self._hidden.upload(np.ascontiguousarray(states, floats))
        self._noise.upload(np.zeros(self._noise.shape, np.float32))
        scale.upload(np.array(request.guidance_scale, np.float32))
        temperature.upload(np.array(divisor, np.float32))
        past, present = self._caches(cache)

        bound: dict[Graph, tuple[Mapping[str, _Whole], Mapping[str, _Whole]]] = {
            Graph.IMAGE_EMBEDDING: ({"image_codes": self._codes}, {"inputs_embeds": embeds}),
            Graph.LANGUAGE_MODEL: (
                {"inputs_embeds": embeds, "past_lengths": self._past, **past},
                {
                    "hidden_states": self._hidden,
                    "lengths": place("lengths", (rows,), np.int64),
                    **present,
                },
            ),
            Graph.IMAGE_HEAD: (
                {"hidden_states": Place(self._hidden, (rows, width))},
                {"logits": self._logits},
            ),
            Graph.GUIDED_SAMPLER: (
                {
                    "logits": self._logits,
                    "guidance_scale": scale,
                    "temperature": temperature,
                    "noise": self._noise,
                },
                {"image_codes": self._codes},
            ),
        }
        self._embed, self._decode, self._head, self._sample = self._launches(backend, bound)

    def logits(self) -> NDArray[Any]:
        """The logits [2P, K] at the last position."""
        self._head()
        return self._logits.download()

    def draw(self, noise: NDArray[np.float32] | None) -> NDArray[np.int64]:
        """The codes [P] that these logits and ``noise`` [P, K] give; None for no noise."""
        if noise is not None:
            self._noise.upload(noise)
        self._sample()
        return self._codes.download()

    def advance(self) -> None:
        """Run the language model on the codes that were drawn last."""
        self._past.upload(self._lengths)
        self._embed()
        self._decode()
        self._lengths += 1

    def _caches(self, cache: KVCache) -> tuple[dict[str, DeviceArray], dict[str, DeviceArray]]:
        """The cache's places by the graph's inputs, and the same ones by its outputs."""
        layers, provider = cache.config.layers, self._provider
        places = [cache_on_device(provider, a).on_device(a.shape) for a in cache.buffers]
        past, present = (
            dict(zip(cache_names(stem, layers), places, strict=True))
            for stem in ("past", "present")
        )
        return past, present

    def _launches(
        self,
        backend: OrtCudaBackend,
        bound: Mapping[Graph, tuple[Mapping[str, _Whole], Mapping[str, _Whole]]],
    ) -> list[Call]:
        """A call for every graph of the step, in order, captured under one id."""
        places = {
            graph: tuple(
                {n: p if isinstance(p, Place) else Place.whole(p) for n, p in part.items()}
                for part in bound[graph]
            )
            for graph in STEP_GRAPHS
        }
        number = backend.graph_id(
            tuple(
                (graph, name, place.array.address, place.shape)
                for graph, parts in places.items()
                for part in parts
                for name, place in part.items()
            )
        )
        return [
            backend.session(graph).launch(*places[graph], graph_id=number) for graph in STEP_GRAPHS
        ]
