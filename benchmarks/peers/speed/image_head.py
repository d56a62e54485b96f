"""The parts around the language model that llama.cpp has no place for, in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from checkpoint_reader import CheckpointReader
from numpy.typing import NDArray


def image_logits(read: CheckpointReader, hidden: NDArray[Any]) -> NDArray[np.float32]:
    """Hidden states [..., H] -> logits [..., K]."""
    head = "model.generation_head"
    x = _gelu(_linear(read, f"{head}.proj_out", hidden))
    return _linear(read, f"{head}.vision_head", x)


def code_embeddings(read: CheckpointReader) -> NDArray[np.float32]:
    """The embedding of every code behind the generation aligner, [K, H]."""
    aligner = "model.generation_aligner"
    x = _linear(read, f"{aligner}.fc1", read("model.generation_embeddings.weight"))
    return _linear(read, f"{aligner}.hidden_layers.0", _gelu(x))


def _linear(read: CheckpointReader, name: str, x: NDArray[Any]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = x @ read(f"{name}.weight").T + read(f"{name}.bias")
    return result


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The exact one; numpy has no error function."""
    spread = np.fromiter(map(math.erf, (x / math.sqrt(2)).ravel().tolist()), np.float32, x.size)
    result: NDArray[np.float32] = (x * (1 + spread.reshape(x.shape)) / 2).astype(np.float32)
    return result
