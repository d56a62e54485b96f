"""Everything that the peers open, from one checkpoint: bundles, engines, and other libraries' formats.

    python benchmarks/peers/speed/prepare.py --checkpoint work/1b/checkpoint-1b --models work/1b \
        --environments work/peers

Tells seconds and peak memory of every command in MODELS/prepared.json; what is there is left as it is.
The int8 recipe needs a calibration file: ``--calibration``, or one prompt is painted to make one, which
takes as long as a picture in float32.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from export_memory import folder_bytes, run  # noqa: E402

from janus_edge.atomic_file import written_aside  # noqa: E402

_HERE = Path(__file__).resolve().parent
JANUS_EDGE = [sys.executable, "-m", "janus_edge"]
_PLAIN = ("--scaling", "none")
#: Options of `janus-edge quantize`.
RECIPES = {
    "int4-weight block 128": ("--recipe", "int4-weight", "--block", "128", *_PLAIN),
    "int4-weight block 128 int8-heads int8-cache int8-images": (
        "--recipe", "int4-weight-int8-heads-int8-cache-int8-images", "--block", "128", *_PLAIN,
    ),
    "int4-weight block 32": ("--recipe", "int4-weight", "--block", "32", *_PLAIN),
    "int8-weight": ("--recipe", "int8-weight", *_PLAIN),
    "int8": ("--recipe", "int8"),
    # without SmoothQuant, which takes minutes, changes no graph, and has no outliers to smooth here
    "int8 int8-heads int8-cache": ("--recipe", "int8-int8-heads-int8-cache", *_PLAIN),
}  # fmt: skip
#: Recipes that read the calibration file.
CALIBRATED = {
    "int8", "int8 int8-heads int8-cache", "int4-weight block 128 int8-heads int8-cache int8-images",
}  # fmt: skip
LAYOUTS = ("q4", "fp32")


class Preparation:
    """Runs commands whose result is missing, and keeps what they took."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given, self._models = given, given.models.absolute()
        self._file = self._models / "prepared.json"
        self._told = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}

    def make(self, name: str, target: Path, command: list[str], last: Path | None = None) -> None:
        """``last`` is what the command writes last into ``target``, if it writes it bit by bit."""
        if (last or target).exists():
            return
        print(name, file=sys.stderr)
        target.parent.mkdir(parents=True, exist_ok=True)
        took: dict[str, Any] = run(command)
        size = folder_bytes(target) if target.is_dir() else target.stat().st_size
        self._told[name] = {"seconds": took["seconds"], "peak_resident_bytes": took["peak_resident_bytes"],
                            "bytes": size}  # fmt: skip
        with written_aside(self._file) as aside:
            aside.write_text(json.dumps(self._told, indent=1) + "\n", "utf-8")

    def janus_edge(self, bundle: Path, recipes: list[str]) -> None:
        calibration = self._given.calibration or self._models / "calibration.npz"
        if CALIBRATED & set(recipes):
            line = [*JANUS_EDGE, "calibrate", str(bundle), str(calibration), "--limit", "1"]
            self.make("calibrate", calibration, line)
        for recipe in recipes:
            name = recipe.replace(" ", "-")
            quantised = self._models / "quantised" / name
            line = [*JANUS_EDGE, "quantize", str(bundle), str(quantised), *RECIPES[recipe]]
            if recipe in CALIBRATED:
                line += ["--calibration", str(calibration)]
            self.make(f"quantize {recipe}", quantised, line)
            self._engine(recipe, quantised)
        self._engine("fp32", bundle)

    def _engine(self, recipe: str, source: Path) -> None:
        engine = self._models / "engines" / recipe.replace(" ", "-")
        line = [*JANUS_EDGE, "build", str(source), str(engine), "--target", "ort-cpu", "--no-cache"]
        line += ["--prepack"] if recipe in RECIPES else []  # float32 would take twice 8 GB on disk
        self.make(f"build {recipe}", engine, line)

    def others(self, bundle: Path) -> None:
        """What the other libraries open; one whose environment is not there is left out, and told."""
        self._convert("openvino", "OpenVINO", "openvino", "language_model-int8.xml")
        self._convert("llama-cpp", "llama.cpp", "llama-cpp", "q8_0.gguf")
        decoder = str(bundle / "graphs/vq_decoder.onnx")
        for weights in LAYOUTS:
            options = ["--weights", weights, "--image-decode", decoder]
            self._convert(
                "growing-cache", f"transformers.js layout {weights}", f"growing-cache/{weights}",
                "vq_decoder.weights", options,
            )  # fmt: skip

    def _convert(
        self, environment: str, name: str, folder: str, last: str, options: list[str] | None = None
    ) -> None:
        """Run the converter of ``environment``; ``last`` is the file that it writes last."""
        python = self._given.environments.absolute() / environment / "bin/python"
        if not python.exists():
            print(f"{name}: {python} is missing (install.sh); left out", file=sys.stderr)
            return
        script = _HERE / f"{environment.replace('-', '_')}_convert.py"
        target = self._models / folder
        command = [str(python), str(script), str(self._given.checkpoint), str(target)]
        self.make(name, target, command + (options or []), target / last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--environments", type=Path, required=True, help="folder of install.sh")
    parser.add_argument(
        "--bundle", type=Path, help="a float32 bundle of it; by default it is exported"
    )
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--recipes", nargs="*", choices=RECIPES, default=list(RECIPES))
    given = parser.parse_args()
    preparation = Preparation(given)
    bundle = given.bundle or given.models / "bundle"
    export = [*JANUS_EDGE, "export", str(given.checkpoint), str(bundle)]
    preparation.make("export", bundle, export)
    preparation.others(bundle)
    preparation.janus_edge(bundle, given.recipes)


if __name__ == "__main__":
    main()
