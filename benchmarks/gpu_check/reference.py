"""Paint with a bundle on the CPU, and save codes and logits as the reference for engines.

    python -m benchmarks.gpu_check.reference BUNDLE FILE.npz

ONNX Runtime runs with all optimisations off. With them, it multiplies 4-bit weights with 8-bit inputs,
which no GPU does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_check.steps import GUIDANCE_SCALE, PROMPTS, TEMPERATURE, forced, influence
from janus_edge.bundle import Bundle
from janus_edge.errors import DependencyError, JanusEdgeError
from janus_edge.graphs import Graph
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import Call


@dataclass(frozen=True, slots=True)
class Reference:
    """What the CPU painted: ``codes`` [P, T] of each prompt, their ``logits`` [P, T, 2, K], and the
    :func:`influence` of the prompt's last position."""

    digest: str
    prompts: tuple[str, ...]
    codes: NDArray[np.int64]
    logits: NDArray[np.float32]
    influence: float

    def save(self, path: Path) -> None:
        """Write it to an .npz file."""
        head = {"digest": self.digest, "prompts": self.prompts, "influence": self.influence,
                "guidance_scale": GUIDANCE_SCALE, "temperature": TEMPERATURE}  # fmt: skip
        np.savez_compressed(path, head=json.dumps(head), codes=self.codes, logits=self.logits)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read what :meth:`save` wrote."""
        with np.load(path) as file:
            head = json.loads(str(file["head"]))
            return cls(
                head["digest"], tuple(head["prompts"]), file["codes"], file["logits"],
                head["influence"],
            )  # fmt: skip


class PlainBackend:
    """ONNX Runtime's CPU provider, with every graph computed as written."""

    def __init__(self, bundle: Bundle) -> None:
        try:
            import onnxruntime
        except ImportError as missing:
            raise DependencyError.missing("onnxruntime", "cpu") from missing
        self._ort, self._bundle = onnxruntime, bundle
        self.float_dtype: np.dtype[Any] = np.dtype(bundle.manifest.recipe.float_type)
        self._sessions: dict[Graph, PlainSession] = {}

    def session(self, graph: Graph) -> PlainSession:
        """As :meth:`Backend.session`."""
        if graph not in self._sessions:
            self._sessions[graph] = PlainSession(self._ort, self._bundle.graph(graph))
        return self._sessions[graph]

    def close(self) -> None:
        """Free all sessions."""
        self._sessions.clear()


class PlainSession:
    """Open a graph without optimisations; an output may be bound to its input's memory."""

    def __init__(self, ort: Any, path: Path) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        self._value = ort.OrtValue.ortvalue_from_numpy
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def bind(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> Call:
        """As :meth:`Session.bind`."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, self._value(array))
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, self._value(array))
        kept = (dict(inputs), dict(outputs))

        def call() -> None:
            assert kept
            self._session.run_with_iobinding(binding)

        return call


def record(folder: Path) -> Reference:
    """Paint :data:`PROMPTS` with the bundle in ``folder``."""
    bundle = Bundle.open(folder)
    with Janus(bundle, PlainBackend(bundle)) as janus:
        runs = [forced(janus, prompt, seed) for seed, prompt in enumerate(PROMPTS)]
        codes, logits = (np.stack(list(arrays)) for arrays in zip(*runs, strict=True))
        return Reference(bundle.digest, PROMPTS, codes, logits, influence(janus, PROMPTS[0]))


def main(arguments: Sequence[str]) -> int:
    """Record one bundle and return the exit code."""
    bundle, file = map(Path, arguments)
    try:
        record(bundle).save(file)
    except JanusEdgeError as wrong:
        print(f"janus-edge: error: {wrong}", file=sys.stderr)
        return wrong.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
