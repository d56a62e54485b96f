"""The transformers.js layout on ONNX Runtime. ``--model`` is `growing_cache_convert.py`'s folder.

``--option`` is empty or level-0.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from protocol import Given, Runner, serve, timed
from work import Work, guided, sampled

Cache = dict[str, Any]


class Graph:
    """A session whose outputs are new memory at every call, as in transformers.js."""

    def __init__(self, given: Given, name: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = given.threads
        options.log_severity_level = 3
        file = str(given.model / f"{name}.onnx")
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, feeds: dict[str, Any]) -> list[Any]:
        """Values of ONNX Runtime from arrays or such values."""
        values = {
            name: ort.OrtValue.ortvalue_from_numpy(f) if isinstance(f, np.ndarray) else f
            for name, f in feeds.items()
        }
        return list(self._session.run_with_ort_values(self._outputs, values))


class LanguageModel:
    def __init__(self, given: Given) -> None:
        name = f"language_model-{given.option}" if given.option else "language_model"
        self._graph, self._work = Graph(given, name), given.work

    def empty(self, rows: int) -> Cache:
        work: Work = self._work
        shape = (rows, work.kv_heads, 0, work.head_dim)
        return {
            f"past_key_values.{i}.{part}": np.zeros(shape, np.float32)
            for i in range(work.layers)
            for part in ("key", "value")
        }

    def __call__(self, embeds: Any, rows: int, total: int, past: Cache) -> tuple[Any, Cache]:
        """``total`` positions with the new ones; returns the hidden states and the present."""
        mask = np.ones((rows, total), np.int64)
        hidden, *present = self._graph({"inputs_embeds": embeds, "attention_mask": mask, **past})
        return hidden, dict(zip(past, present, strict=True))


def load(given: Given) -> Runner:
    runner: Runner = globals()[f"_{given.item}"](given, LanguageModel(given))
    return runner


def _step(given: Given, language_model: LanguageModel) -> Runner:
    work = given.work
    embed, head = Graph(given, "gen_img_embeds"), Graph(given, "gen_head")
    empty = language_model.empty(2)
    _, filled = language_model(work.step_prompt(), 2, work.first, empty)
    codes, results = work.step_codes(), np.zeros((work.steps, 2, work.codebook), np.float32)

    def run() -> list[float]:
        seconds, past, total = [], filled, work.first
        for index, code in enumerate(codes):
            started = time.perf_counter()
            total += 1
            embeds = embed({"image_ids": np.full((2, 1), code)})[0]
            hidden, past = language_model(embeds, 2, total, past)
            logits = head({"hidden_states": hidden})[0].numpy()[:, -1]
            guided(logits)
            seconds.append(time.perf_counter() - started)
            results[index] = logits
        return seconds

    return Runner(run, lambda: results)


def _prefill(given: Given, language_model: LanguageModel) -> Runner:
    embeds = given.work.prefill()
    last: list[NDArray[Any]] = []

    def once() -> None:
        hidden, _ = language_model(embeds, 1, embeds.shape[1], language_model.empty(1))
        last[:] = [hidden.numpy()[0, -1]]

    return Runner(lambda: [timed(once)], lambda: last[0])


def _picture(given: Given, language_model: LanguageModel) -> Runner:
    work = given.work
    embed, head = Graph(given, "gen_img_embeds"), Graph(given, "gen_head")
    decoder = Graph(given, "vq_decoder")
    pictures: list[NDArray[Any]] = []

    def once() -> None:
        generator, codes = np.random.default_rng(0), np.zeros((1, work.image_tokens), np.int64)
        embeds: Any = work.prompt()
        total, past = embeds.shape[1], language_model.empty(2)
        for index in range(work.image_tokens):
            hidden, past = language_model(embeds, 2, total + index, past)
            last = hidden.numpy()[:, -1:]
            codes[0, index] = sampled(head({"hidden_states": last})[0].numpy()[:, 0], generator)
            embeds = embed({"image_ids": np.full((2, 1), codes[0, index])})[0]
        pictures[:] = [decoder({"image_codes": codes})[0].numpy()]

    return Runner(lambda: [timed(once)], lambda: pictures[0][0])


if __name__ == "__main__":
    serve(load, ("onnxruntime", "numpy"))
