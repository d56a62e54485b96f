"""OpenVINO on the CPU. ``--model`` is `openvino_convert.py`'s folder, ``--option`` the kind of weights."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from protocol import Given, Runner, serve, timed
from work import Work, guided, sampled


class Model:
    """The parts that an item needs, compiled with OpenVINO's own defaults but for the threads."""

    def __init__(self, given: Given) -> None:
        self._given, self._core = given, ov.Core()

    def part(self, name: str) -> ov.CompiledModel:
        settings = {"INFERENCE_NUM_THREADS": self._given.threads}
        return self._core.compile_model(self._given.model / f"{name}.xml", "CPU", settings)

    def language_model(self) -> LanguageModel:
        return LanguageModel(self.part(f"language_model-{self._given.option}"))


class LanguageModel:
    """The stateful model; ``length`` is what its state holds."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request, self.length = compiled.create_infer_request(), 0

    def __call__(self, embeds: NDArray[Any]) -> NDArray[Any]:
        rows, new, _ = embeds.shape
        positions = np.arange(self.length, self.length + new)
        self.length += new
        self._request.start_async(
            {
                "inputs_embeds": embeds,
                "attention_mask": np.ones((rows, self.length), np.int64),
                "position_ids": np.tile(positions, (rows, 1)),
                "beam_idx": np.arange(rows, dtype=np.int32),
            },
            share_inputs=True,
        )
        self._request.wait()
        hidden: NDArray[Any] = self._request.get_tensor("hidden").data
        return hidden

    def reset(self) -> None:
        self._request.reset_state()
        self.length = 0

    def saved(self) -> list[NDArray[Any]]:
        return [np.array(state.state.data) for state in self._request.query_state()]

    def restore(self, saved: list[NDArray[Any]], length: int) -> None:
        for state, values in zip(self._request.query_state(), saved, strict=True):
            state.state = ov.Tensor(values)
        self.length = length


def load(given: Given) -> Runner:
    runner: Runner = globals()[f"_{given.item}"](given, Model(given))
    return runner


def _step(given: Given, model: Model) -> Runner:
    work = given.work
    language_model = model.language_model()
    embed, head = model.part("gen_embeddings"), model.part("gen_head")
    language_model(work.step_prompt())
    saved, codes = language_model.saved(), work.step_codes()
    results = np.zeros((work.steps, 2, work.codebook), np.float32)

    def run() -> list[float]:
        seconds = []
        for index, code in enumerate(codes):
            started = time.perf_counter()
            hidden = language_model(embed(np.array([code, code]))[0][:, None])
            logits = head(hidden[:, -1])[0]
            guided(logits)
            seconds.append(time.perf_counter() - started)
            results[index] = logits
        language_model.restore(saved, work.first)
        return seconds

    return Runner(run, lambda: results)


def _prefill(given: Given, model: Model) -> Runner:
    language_model, embeds = model.language_model(), given.work.prefill()
    last: list[NDArray[Any]] = []

    def run() -> list[float]:
        language_model.reset()
        return [timed(lambda: last.__setitem__(slice(None), [language_model(embeds)[0, -1]]))]

    return Runner(run, lambda: last[0])


def _vision(given: Given, model: Model) -> Runner:
    return _one_call(model.part("vision"), given.work.pixels())


def _vq(given: Given, model: Model) -> Runner:
    return _one_call(model.part("gen_decoder"), given.work.picture_codes())


def _one_call(part: ov.CompiledModel, argument: NDArray[Any]) -> Runner:
    last: list[NDArray[Any]] = []

    def once() -> None:
        last[:] = [part(argument)[0]]

    return Runner(lambda: [timed(once)], lambda: last[0][0])


def _picture(given: Given, model: Model) -> Runner:
    work: Work = given.work
    language_model = model.language_model()
    embed, head = model.part("gen_embeddings"), model.part("gen_head")
    decoder = model.part("gen_decoder")
    pictures: list[NDArray[Any]] = []

    def once() -> None:
        language_model.reset()
        generator, codes = np.random.default_rng(0), np.zeros((1, work.image_tokens), np.int64)
        embeds = work.prompt()
        for index in range(work.image_tokens):
            logits = head(language_model(embeds)[:, -1])[0]
            codes[0, index] = sampled(logits, generator)
            embeds = embed(np.repeat(codes[0, index], 2))[0][:, None]
        pictures[:] = [decoder(codes)[0]]

    return Runner(lambda: [timed(once)], lambda: pictures[0][0])


if __name__ == "__main__":
    serve(load, ("openvino", "numpy"))
