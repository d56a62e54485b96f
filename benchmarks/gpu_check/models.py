"""The bundles that are checked: from a prepared folder, or exported here where PyTorch is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_check.processes import LACKS_PACKAGE, Run

#: What PyTorch computed for the shipped miniature, token by token; in a prepared folder.
TRACE = "miniature.npz"

#: The bundle that tests marked `gpu` build engines of.
TINY = "tiny-fp32"

PRECISIONS = ("fp32", "fp16")


class UnavailableError(Exception):
    """A bundle or a trace that is neither prepared nor could be made; says why.

    ``broken`` tells that making it failed, and not only for want of a package (PyTorch).
    """

    def __init__(self, why: str, *, broken: bool) -> None:
        super().__init__(why)
        self.broken = broken


@dataclass(frozen=True, slots=True)
class Models:
    """Bundles and the trace below ``folder``; what is lacking is made there when asked for."""

    folder: Path
    run: Run

    def bundle(self, precision: str) -> Path:
        """The shipped miniature, exported; raises UnavailableError."""
        path = self.folder / f"miniature-{precision}"
        if not path.is_dir():
            self._command("export", "miniature", path, "--precision", precision)
        return path

    def trace(self) -> Path:
        """PyTorch's run of the miniature; raises UnavailableError."""
        path = self.folder / TRACE
        if not path.is_file():
            self._command("parity", "miniature", self.bundle("fp32"), "--save-trace", path)
        return path

    def tiny(self) -> Path:
        """A bundle of random weights; raises UnavailableError."""
        path, checkpoint = self.folder / TINY, self.folder / "tiny"
        if not path.is_dir():
            if not checkpoint.is_dir():
                self._run("benchmarks.make_checkpoint", checkpoint, "--dimensions", "tiny")
            self._command("export", checkpoint, path)
        return path

    def _command(self, *arguments: str | Path) -> None:
        self._run("janus_edge", *arguments)

    def _run(self, module: str, *arguments: str | Path) -> None:
        outcome = self.run(module, arguments)
        if outcome.code:
            raise UnavailableError(
                f"{outcome.reason}; prepare the folder where PyTorch is: make gpu-wheels WHEELS=folder",
                broken=outcome.code != LACKS_PACKAGE,
            )
