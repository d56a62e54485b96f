"""What TensorRT says while it parses and builds, and our errors made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janus_edge.engines.tensorrt.objects import OnnxParser
from janus_edge.errors import EngineError

#: What the builder says of the memory that a run will take; once per optimisation profile.
_ACTIVATIONS = re.compile(r"Total Activation Memory: (\d+) bytes")

#: And of the weights, once: profiles share them.
_WEIGHTS = re.compile(r"Total Weights Memory: (\d+) bytes")

#: A layer's kernels take more scratch memory than they are allowed.
_WORKSPACE = "raise --workspace, or build with a smaller profile"

_MEMORY = "free memory, or build with a smaller profile or a smaller --workspace"

#: What a build's message tells of the fix; the first that is found in it.
_FIXES = (
    ("violate shape constraints", "give the profile other sizes"),
    ("CUDA_SUCCESS", "build on a machine with a GPU and its driver, or without refitting"),
    ("dedicated kernel", "update TensorRT, or export the bundle with --precision fp16"),
    ("HW-specific datatypes", "build for a newer GPU, or from a bundle of another recipe"),
    ("FP32 GEMM is not supported", "export the bundle with --precision fp16"),
    ("workspace limit", _WORKSPACE),
    ("resizePhysical", _MEMORY),  # an allocation on the GPU, which may name its size as well
    ("Requested size was", _WORKSPACE),
    ("find any implementation", "raise --workspace, or update TensorRT"),
    # last: some of the messages above name memory, too
    ("emory", _MEMORY),
)


@dataclass(slots=True)
class Messages:
    """Collects messages; the errors are what the next exception tells."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    activation_bytes: list[int] = field(default_factory=list)
    weight_bytes: int | None = None

    def add(self, severity: str, message: str) -> None:
        """Keep a message of the severity 'ERROR', 'WARNING', 'INFO' and so on."""
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors.append(_one_line(message))
        elif severity == "WARNING":
            self.warnings.append(_one_line(message))
        elif found := _ACTIVATIONS.search(message):
            self.activation_bytes.append(int(found[1]))
        elif found := _WEIGHTS.search(message):
            self.weight_bytes = int(found[1])

    @property
    def lack_attention(self) -> bool:
        """Whether an error says that an attention has no fused kernel."""
        return any("ttention" in error for error in self.errors)

    def logger(self, trt: Any) -> Any:
        """A logger for TensorRT's objects, which it must outlive."""
        collect = self.add

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                collect(severity.name, message)

        return Logger()

    def parse_error(self, tool: str, graph_file: Path, parser: OnnxParser) -> EngineError:
        """The error for a graph that ``parser`` refused: operator, node and reason of each place."""
        places = []
        for index in range(parser.num_errors):
            error = parser.get_error(index)
            node = " ".join(word for word in (error.node_operator(), error.node_name()) if word)
            places.append(f"{node or 'graph'}: {_one_line(error.desc())}")
        told = "; ".join(places or self.errors) or "it did not say why"
        return EngineError(
            f"{graph_file}: {tool} cannot parse the graph ({told}); build for a target whose passes "
            "replace such nodes, or from a bundle of another recipe"
        )

    def build_error(self, tool: str, graph_file: Path) -> EngineError:
        """The error for a network that could not be built."""
        told = "; ".join(self.errors) or "it did not say why"
        fixes = (fix for sign, fix in _FIXES if sign in told)
        fix = next(
            fixes, "look up the layer with --dump-network, and try a bundle of another recipe"
        )
        return EngineError(f"{graph_file}: {tool} cannot build the engine ({told}); {fix}")


def _one_line(message: str) -> str:
    return " ".join(message.split())
