"""janus-edge: an engine for ort-cpu (or a bundle) through its own runtime. ``--model`` is its folder."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol import Given, Runner, serve, timed
from work import CAPACITY, GUIDANCE, PREFILL

from janus_edge.graphs import Graph
from janus_edge.runtime.image_decoding import ImageRequest
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.pipeline import Janus


def load(given: Given) -> Runner:
    janus = Janus.load(given.model, threads=given.threads, verify=False)
    runner: Runner = globals()[f"_{given.item}"](given, janus)
    return runner


def _step(given: Given, janus: Janus) -> Runner:
    work, backend = given.work, janus.backend
    cache = KVCache.of(backend, janus.bundle.manifest.config.language, 2, CAPACITY)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    model.prefill(cache, list(work.step_prompt().astype(backend.float_dtype)))
    step = model.plan(cache, 1)
    logits = np.zeros((2, work.codebook), backend.float_dtype)
    given_code, drawn = np.zeros(1, np.int64), np.zeros(1, np.int64)
    embed = backend.session(Graph.IMAGE_EMBEDDING).bind(
        {"image_codes": given_code}, {"inputs_embeds": step.inputs_embeds}
    )
    head = backend.session(Graph.IMAGE_HEAD).bind(
        {"hidden_states": step.hidden_states[:, 0]}, {"logits": logits}
    )
    sample = backend.session(Graph.GUIDED_SAMPLER).bind(
        {
            "logits": logits,
            "guidance_scale": np.array(GUIDANCE, np.float32),
            "temperature": np.array(1.0, np.float32),
            "noise": np.zeros((1, work.codebook), np.float32),
        },
        {"image_codes": drawn},
    )
    codes, results = work.step_codes(), np.zeros((work.steps, 2, work.codebook), np.float32)

    def run() -> list[float]:
        cache.lengths[:] = work.first
        seconds = []
        for index, code in enumerate(codes):
            started = time.perf_counter()
            given_code[0] = code
            embed()
            step.run()
            cache.lengths += 1
            head()
            sample()
            seconds.append(time.perf_counter() - started)
            results[index] = logits
        return seconds

    return Runner(run, lambda: results)


def _prefill(given: Given, janus: Janus) -> Runner:
    backend, language = janus.backend, janus.bundle.manifest.config.language
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    rows = list(given.work.prefill().astype(backend.float_dtype))
    last: list[NDArray[Any]] = []

    def once() -> None:
        # a cache of its own, as `describe` makes one for every question
        cache = KVCache.of(backend, language, 1, -(-PREFILL // 64) * 64)
        last[:] = [model.prefill(cache, rows)[0]]

    return Runner(lambda: [timed(once)], lambda: last[0])


def _vision(given: Given, janus: Janus) -> Runner:
    work, backend = given.work, janus.backend
    pixels = work.pixels().astype(backend.float_dtype)
    embeds = np.zeros((1, work.image_tokens, work.hidden), backend.float_dtype)
    session = backend.session(Graph.VISION_ENCODER)
    call = session.bind({"pixel_values": pixels}, {"image_embeds": embeds})
    return Runner(lambda: [timed(call)], lambda: embeds[0])


def _vq(given: Given, janus: Janus) -> Runner:
    work, backend = given.work, janus.backend
    pixels = np.zeros((1, 3, work.image_size, work.image_size), backend.float_dtype)
    session = backend.session(Graph.VQ_DECODER)
    call = session.bind({"image_codes": work.picture_codes()}, {"pixel_values": pixels})
    return Runner(lambda: [timed(call)], lambda: pixels[0])


def _picture(given: Given, janus: Janus) -> Runner:
    from janus_edge.runtime.image_decoding import image_codes

    conditional, unconditional = given.work.prompt().astype(janus.backend.float_dtype)
    request = ImageRequest([(conditional, unconditional)], [0], [0], [0], GUIDANCE, 1.0)
    config = janus.bundle.manifest.config
    pictures: list[Any] = []

    def once() -> None:
        codes = np.concatenate(list(image_codes(config, janus.backend, request)))
        pictures[:] = [janus.decode(codes)]

    return Runner(lambda: [timed(once)], lambda: np.asarray(pictures[0]).transpose(2, 0, 1) / 255)


if __name__ == "__main__":
    serve(load, ("onnxruntime", "numpy"))
