"""The bundles to check and what the CPU painted with them: from a prepared folder, or made here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu_check.processes import LACKS_PACKAGE, Run

#: What PyTorch computed for the shipped miniature, token by token; in a prepared folder.
TRACE = "miniature.npz"

#: The bundle that tests marked `gpu` build engines of.
TINY = "tiny-fp32"

#: Recipes of the quantised bundles, made from the float16 one, with the options of `quantize`. The
#: miniature has a width of 192, which is not a multiple of 128.
QUANTISED = {"int8": (), "int4-weight": ("--block", "64", "--symmetric")}

#: Checked by default, the most informative first; fp32 must be asked for.
PRECISIONS = ("fp16", *QUANTISED)

KNOWN = ("fp32", *PRECISIONS)

#: Prompts and pictures of the calibration: with fewer, the text head has no range.
_CALIBRATED = "8"


class UnavailableError(Exception):
    """A bundle or a trace that is neither prepared nor could be made; says why.

    ``broken`` tells that making it failed, and not only for want of a package (PyTorch).
    """

    def __init__(self, why: str, *, broken: bool) -> None:
        super().__init__(why)
        self.broken = broken


@dataclass(frozen=True, slots=True)
class Models:
    """Bundles, references and the trace in ``folder``; missing ones are made when asked for.

    What could not be made is not tried again: ``failures`` holds the reasons by command.
    """

    folder: Path
    run: Run
    failures: dict[tuple[str, ...], UnavailableError] = field(default_factory=dict)

    def bundle(self, precision: str) -> Path:
        """Return the shipped miniature in a precision of :data:`KNOWN`; raises UnavailableError."""
        path = self.folder / f"miniature-{precision}"
        if path.is_dir():
            return path
        if precision in QUANTISED:
            base, calibration = self.bundle("fp16"), self._calibration()
            words = ["--recipe", precision, *QUANTISED[precision]]
            self._command("quantize", base, path, "--calibration", calibration, *words)
        else:
            self._command("export", "miniature", path, "--precision", precision)
        return path

    def reference(self, precision: str) -> Path:
        """Return what the CPU painted with :meth:`bundle`; raises UnavailableError."""
        path = self.folder / f"miniature-{precision}.reference.npz"
        if not path.is_file():
            self._run("benchmarks.gpu_check.reference", self.bundle(precision), path)
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

    def _calibration(self) -> Path:
        path = self.folder / "miniature-calibration.npz"
        if not path.is_file():
            self._command("calibrate", self.bundle("fp16"), path, "--limit", _CALIBRATED)
        return path

    def _command(self, *arguments: str | Path) -> None:
        self._run("janus_edge", *arguments)

    def _run(self, module: str, *arguments: str | Path) -> None:
        command = (module, *map(str, arguments))
        if command in self.failures:
            raise self.failures[command]
        outcome = self.run(module, arguments)
        if outcome.code:
            self.failures[command] = UnavailableError(
                f"{outcome.reason}; prepare the folder where PyTorch is: make gpu-wheels WHEELS=folder",
                broken=outcome.code != LACKS_PACKAGE,
            )
            raise self.failures[command]
