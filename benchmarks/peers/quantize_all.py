"""Every method of every library on a float bundle: a folder of graphs for each.

    python benchmarks/peers/quantize_all.py work/miniature work/feeds work/peers \
        --modelopt work/modelopt/bin/python

The feeds are those that `record_feeds.py` recorded of the bundle. `quantizers.py` runs once for each
graph that janus-edge's recipe of the same kind quantises, in a process of its own; with --modelopt
that of modelopt's environment. What is done already is not done again. A failure is recorded with
its message in work/peers/VARIANT/GRAPH.json, and what the process said in GRAPH.log. Prints a line
VARIANT=FOLDER for each variant, as `benchmarks/quantization.py --graphs` takes it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
from quantizers import chosen

from janus_edge.bundle import Bundle
from janus_edge.errors import JanusEdgeError
from janus_edge.graphs import Graph

_ROOT = Path(__file__).resolve().parents[2]

#: Name -> library, method and more options of `quantizers.py`.
VARIANTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    **{f"ort-int8-{r}": ("ort", "int8", ("--range", r)) for r in ("max", "entropy", "percentile")},
    "ort-int8-weight": ("ort", "int8-weight", ()),
    **{f"ort-int4-{m}": ("ort", f"int4-{m}", ()) for m in ("rtn", "hqq", "gptq", "k-quant")},
    **{f"modelopt-int8-{r}": ("modelopt", "int8", ("--range", r)) for r in ("max", "entropy")},
    **{
        f"modelopt-int4-{m}": ("modelopt", f"int4-{m}", ())
        for m in ("rtn", "awq-lite", "awq-clip", "awq-full")
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a float bundle")
    parser.add_argument("feeds", type=Path, help="the folder that record_feeds.py wrote")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--modelopt", type=Path, help="the Python of its environment; or leave out")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--block", type=int, default=32)
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for a graph")
    given = parser.parse_args()
    try:
        bundle = Bundle.open(given.bundle)
        models = {g: onnx.load(str(bundle.graph(g)), load_external_data=False) for g in Graph}
    except JanusEdgeError as wrong:
        raise SystemExit(f"{parser.prog}: {wrong}") from wrong
    recorded = json.loads((given.feeds / "feeds.json").read_text("utf-8"))["bundle"]
    if recorded != bundle.digest:
        raise SystemExit(f"{given.feeds}: recorded of another bundle; record them again")
    pythons = {"ort": Path(sys.executable), "modelopt": given.modelopt}
    for name in given.only or VARIANTS:
        library, method, more = VARIANTS[name]
        if pythons[library] is None:
            print(f"{name}: left out, pass --modelopt", file=sys.stderr)
            continue
        folder = given.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for graph, model in models.items():
            if not chosen(model.graph, graph.value, method):
                continue
            options = ["--library", library, "--method", method, "--graph", graph.value, *more]
            options += ["--block", str(given.block), str(given.bundle), str(folder)]
            options += ["--calibration-feeds", str(given.feeds / f"{graph.value}.npz")]
            report = made(folder / f"{graph.value}.json", pythons[library], options, given.timeout)
            said = f"{report['seconds']} s" if "error" not in report else f"{report['error']}"
            print(f"{name} {graph.value}: {said}", file=sys.stderr)
        print(f"{name}={folder}")


def made(path: Path, python: Path, options: list[str], timeout: float) -> dict[str, Any]:
    """The report at ``path``: what is there of an earlier run, or what a run now leaves."""
    if not path.exists() or "error" in _report(path):
        path.unlink(missing_ok=True)
        command = [str(python), str(Path(__file__).with_name("quantizers.py")), *options]
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        log = path.with_suffix(".log")
        with open(log, "w", encoding="utf-8") as out:
            error = _error_of(command, environment, out.fileno(), timeout)
        if error is not None:
            lines = [x.strip() for x in log.read_text("utf-8", "replace").splitlines() if x.strip()]
            failure = {
                "command": " ".join(options[:6]),
                "error": error or (lines or ["silent"])[-1],
            }
            path.write_text(json.dumps(failure, indent=1) + "\n", "utf-8")
    return _report(path)


def _error_of(command: list[str], env: dict[str, str], out: int, timeout: float) -> str | None:
    """Run ``command``: None if it succeeded, what went wrong, or nothing where ``out`` tells."""
    try:
        done = subprocess.run(
            command, env=env, stdout=out, stderr=subprocess.STDOUT, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {timeout:g} s"
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    return "" if done.returncode else None


def _report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return report


if __name__ == "__main__":
    main()
