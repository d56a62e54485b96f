"""Every exception that janus-edge raises on purpose.

    JanusEdgeError                1   anything below
    ├── InputError                2   an argument, prompt or image that cannot be used
    ├── CheckpointError           3   a checkpoint that is missing, damaged or not a Janus
    ├── BundleError               4   a bundle that is missing, damaged, altered or hostile
    │   └── BundleVersionError    4   a bundle written by a newer janus-edge
    ├── ExportError               5   a graph that could not be exported
    │   └── ParityError           6   a graph or bundle that is too far from its reference
    ├── CapacityError             7   a prompt or conversation that does not fit the KV cache
    ├── BackendError              8   a graph that this machine cannot run
    ├── DependencyError           9   an optional package that is not installed
    └── EngineError              10   an engine that cannot be built, or does not fit this machine
        └── LoweringError        10   a graph that a rewrite for a target does not fit

The number is the exit code of the command line. A message says what was wrong, where, and the
fix, in that order.
"""

from __future__ import annotations

from typing import ClassVar


class JanusEdgeError(Exception):
    """Base of all janus-edge errors; ``exit_code`` is what the command line exits with."""

    exit_code: ClassVar[int] = 1


class InputError(JanusEdgeError):
    """An argument, prompt or image that cannot be used."""

    exit_code = 2


class CheckpointError(JanusEdgeError):
    """A checkpoint that is missing, damaged, or not a Janus checkpoint."""

    exit_code = 3


class BundleError(JanusEdgeError):
    """A bundle that is missing, damaged, altered, or that points outside its folder."""

    exit_code = 4


class BundleVersionError(BundleError):
    """A bundle whose manifest has a newer schema than this version reads."""


class ExportError(JanusEdgeError):
    """A graph that could not be exported."""

    exit_code = 5


class ParityError(ExportError):
    """A graph too far from PyTorch, or a bundle too far from its float parent."""

    exit_code = 6


class CapacityError(JanusEdgeError):
    """A prompt or conversation that needs more positions than the KV cache has."""

    exit_code = 7


class BackendError(JanusEdgeError):
    """A graph that the chosen backend cannot load or run on this machine."""

    exit_code = 8


class DependencyError(JanusEdgeError):
    """An optional package that a command needs and that is not installed."""

    exit_code = 9

    @classmethod
    def missing(cls, package: str, extra: str) -> DependencyError:
        """The error for an absent ``package`` that the extra ``extra`` would install."""
        if package == "onnxruntime":  # one of two alternatives, and in no other extra
            extra = "cpu"
        return cls(
            f"the Python package '{package}' is not installed: "
            f"install it with  pip install 'janus-edge[{extra}]'"
        )


class EngineError(JanusEdgeError):
    """An engine that cannot be built, is damaged, or was built for another machine or version."""

    exit_code = 10


class LoweringError(EngineError):
    """A graph that a rewrite for a target does not fit."""
