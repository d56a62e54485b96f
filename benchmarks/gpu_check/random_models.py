"""Bundles with random weights at a published model's dimensions: prepared, or made here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_check.models import UnavailableError
from benchmarks.gpu_check.processes import LACKS_PACKAGE, Run

PRECISIONS = ("fp16", "int8", "int4-weight")


@dataclass(frozen=True, slots=True)
class RandomModels:
    """Bundles of ``dimensions`` in ``folder``."""

    folder: Path
    run: Run
    dimensions: str = "1b"

    def bundle(self, precision: str) -> Path:
        """Return a bundle in a precision of PRECISIONS; raises UnavailableError."""
        path = self.folder / f"{self.dimensions}-{precision}"
        if path.is_dir():
            return path
        words = ["--dimensions", self.dimensions, "--precisions", precision]
        outcome = self.run("benchmarks.gpu_check.random_bundles", [self.folder, *words])
        if outcome.code:
            lacks = outcome.code == LACKS_PACKAGE or "No module named" in outcome.reason
            raise UnavailableError(
                f"{outcome.reason}; make {path.name} on a machine with PyTorch: "
                "python -m benchmarks.gpu_check.random_bundles FOLDER",
                broken=not lacks,
            )
        return path
