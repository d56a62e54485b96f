"""llama.cpp through its C interface. ``--model`` is `llama_cpp_convert.py`'s folder, ``--option`` a kind.

Settings are llama.cpp's own (memory-mapped weights, float16 cache, flash attention where it chooses to).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp
import numpy as np
from checkpoint_reader import CheckpointReader
from image_head import image_logits
from numpy.typing import NDArray
from protocol import Given, Runner, serve, timed
from work import CAPACITY, guided


class Context:
    """A model and a context of two rows; what it is given are embeddings, then codes."""

    def __init__(self, given: Given) -> None:
        llama_cpp.llama_backend_init()
        self._work = given.work
        file = str(given.model / f"{given.option}.gguf").encode()
        self._model = llama_cpp.llama_model_load_from_file(
            file, llama_cpp.llama_model_default_params()
        )
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = 2 * CAPACITY, 2
        settings.n_batch = 2 * CAPACITY
        settings.n_threads = settings.n_threads_batch = given.threads
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            raise SystemExit(f"{file.decode()}: llama.cpp makes no context of it")
        self._memory = llama_cpp.llama_get_memory(self._context)

    def append(self, embeds: NDArray[Any]) -> None:
        """Embeddings [rows, S, H] behind an empty cache."""
        rows, new, size = embeds.shape
        batch = llama_cpp.llama_batch_init(rows * new, size, 1)
        ctypes.memmove(
            batch.embd, np.ascontiguousarray(embeds, np.float32).ctypes.data, embeds.nbytes
        )
        self._places(batch, [(row, position) for row in range(rows) for position in range(new)])
        for row in range(rows):
            batch.logits[row * new + new - 1] = 1
        self._decode(batch)
        llama_cpp.llama_batch_free(batch)

    @contextmanager
    def code(self) -> Iterator[Any]:
        """A function (code, position): the same code in both rows."""
        batch = llama_cpp.llama_batch_init(2, 0, 1)

        def step(code: int, position: int) -> None:
            self._places(batch, [(0, position), (1, position)])
            batch.token[0] = batch.token[1] = code
            batch.logits[0] = batch.logits[1] = 1
            self._decode(batch)

        yield step
        llama_cpp.llama_batch_free(batch)

    def logits(self) -> NDArray[np.float32]:
        """[2, K] of the last step, a view."""
        return _array(llama_cpp.llama_get_logits(self._context), (2, self._work.codebook))

    def hidden(self, rows: int) -> NDArray[np.float32]:
        """[rows, H] of the last call, a view; rows are all its tokens. Needs :meth:`tell_hidden`."""
        return _array(llama_cpp.llama_get_embeddings(self._context), (rows, self._work.hidden))

    def tell_hidden(self, wanted: bool) -> None:
        llama_cpp.llama_set_embeddings(self._context, wanted)

    def rewind(self, length: int) -> None:
        for row in range(2):
            llama_cpp.llama_memory_seq_rm(self._memory, row, length, -1)

    def _places(self, batch: Any, places: list[tuple[int, int]]) -> None:
        batch.n_tokens = len(places)
        for index, (row, position) in enumerate(places):
            batch.pos[index], batch.n_seq_id[index] = position, 1
            batch.seq_id[index][0], batch.logits[index] = row, 0

    def _decode(self, batch: Any) -> None:
        failed = llama_cpp.llama_decode(self._context, batch)
        if failed:
            raise RuntimeError(f"llama_decode returned {failed}")


def _array(pointer: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), shape)


def load(given: Given) -> Runner:
    runner: Runner = globals()[f"_{given.item}"](given, Context(given))
    return runner


def _step(given: Given, context: Context) -> Runner:
    work = given.work
    context.append(work.step_prompt())
    codes = [int(code) for code in work.step_codes()]

    def run() -> list[float]:
        seconds = []
        with context.code() as step:
            for index, code in enumerate(codes):
                started = time.perf_counter()
                step(code, work.first + index)
                guided(context.logits())
                seconds.append(time.perf_counter() - started)
        context.rewind(work.first)
        return seconds

    def output() -> NDArray[Any]:
        """The whole image head on the hidden states, which the timed steps do not have."""
        hidden = np.zeros((work.steps, 2, work.hidden), np.float32)
        context.tell_hidden(True)
        with context.code() as step:
            for index, code in enumerate(codes):
                step(code, work.first + index)
                hidden[index] = context.hidden(2)
        context.rewind(work.first)
        context.tell_hidden(False)
        return image_logits(CheckpointReader(given.checkpoint), hidden)

    return Runner(run, output)


def _prefill(given: Given, context: Context) -> Runner:
    embeds = given.work.prefill()

    def run() -> list[float]:
        context.rewind(0)
        return [timed(lambda: context.append(embeds))]

    def output() -> NDArray[Any]:
        """Told apart from the timed run: it would give every position's logits as well."""
        context.tell_hidden(True)
        context.rewind(0)
        context.append(embeds)
        last: NDArray[Any] = context.hidden(embeds.shape[1])[-1].copy()
        context.tell_hidden(False)
        return last

    return Runner(run, output)


if __name__ == "__main__":
    serve(load, ("llama-cpp-python", "numpy"))
