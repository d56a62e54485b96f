"""What TensorRT says while it opens and runs plans, and our errors made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janus_edge.errors import BackendError, EngineError

#: What a message tells of the fix; the first that is found in it.
_FIXES = (
    (
        "emory",
        "free memory of the GPU, or build with a smaller capacity or from a bundle with smaller "
        "weights (int8, int4-weight)",
    ),
    ("insufficient", "update the NVIDIA driver: it is older than TensorRT's CUDA"),
    ("capture", "run without a CUDA graph: --no-cuda-graph"),
)


@dataclass(slots=True)
class Messages:
    """Collects TensorRT's errors until the next exception tells them."""

    errors: list[str] = field(default_factory=list)

    def logger(self, trt: Any) -> Any:
        """A logger for TensorRT's objects, which it must outlive."""
        errors = self.errors

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity.name in ("ERROR", "INTERNAL_ERROR"):
                    errors.append(" ".join(message.split()))

        return Logger()

    def _told(self) -> str:
        told = "; ".join(self.errors) or "it did not say why"
        self.errors.clear()
        return told

    def open_error(self, tool: str, plan: Path, rebuild: str) -> BackendError | EngineError:
        """The error for a plan that cannot be opened: no memory for it, or it does not fit."""
        told = self._told()
        sign, fix = _FIXES[0]
        if sign in told:
            return BackendError(f"{plan}: {tool} cannot open the engine ({told}); {fix}")
        return EngineError(
            f"{plan}: {tool} cannot open the engine ({told}); build it again with  {rebuild}"
        )

    def run_error(self, tool: str, plan: Path, doing: str) -> BackendError:
        """The error for a call of a context that failed."""
        told = self._told()
        fixes = (fix for sign, fix in _FIXES if sign in told)
        fix = next(fixes, "check the engine with `janus-edge verify`, or build it again")
        return BackendError(f"{plan}: {tool} failed while {doing} ({told}); {fix}")
