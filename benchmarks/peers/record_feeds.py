"""What the graphs of a float bundle are given, for the calibration of other libraries.

    PYTHONPATH=. python benchmarks/peers/record_feeds.py work/miniature work/feeds

Runs the data of `janus-edge calibrate` (its prompts, pictures, questions, seed and guidance, unless
options say otherwise) through the real loop and keeps a random sample of each graph's calls: pictures,
rows of hidden states, and of the language model stretches of rows (`sampling_backend.py` tells how).
Writes NAME.npz for every graph (`feeds.py` tells the format) and feeds.json into the folder.

The number of calls should not be a power of two: modelopt's clip search takes every n-th of all
tokens, and n would be a multiple of the tokens of a call.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from feeds import write_feeds
from sampling_backend import SamplingBackend

from janus_edge.bundle import Bundle
from janus_edge.calib.calibrate import Options, run_item
from janus_edge.cli.calibration_data import calibration_items
from janus_edge.errors import JanusEdgeError
from janus_edge.graphs import Graph
from janus_edge.runtime.pipeline import Janus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a float bundle")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", help="a text file, as of `janus-edge calibrate`")
    parser.add_argument("--images", help="a folder, as of `janus-edge calibrate`")
    parser.add_argument("--limit", type=int, default=48, help="prompts, and images, at most")
    parser.add_argument("--calls", type=int, default=50, help="kept of each graph; heads: 16 times")
    parser.add_argument("--tokens", type=int, default=128, help="of a call of the language model")
    parser.add_argument("--guidance-scale", type=float, default=Options().guidance_scale)
    parser.add_argument("--seed", type=int, default=Options().seed)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    try:
        record(given)
    except JanusEdgeError as wrong:
        raise SystemExit(f"{parser.prog}: {wrong}") from wrong


def record(given: argparse.Namespace) -> None:
    bundle = Bundle.open(given.bundle)
    if bundle.manifest.recipe.quantised:
        raise SystemExit(f"{given.bundle}: is quantised already; give its float parent")
    miniature = bundle.manifest.source.name == "miniature"
    items = calibration_items(miniature, given.prompts, given.images, given.limit)
    options = Options(guidance_scale=given.guidance_scale, seed=given.seed)
    counts = dict.fromkeys(("prompts", "pictures", "questions"), 0)
    backend = SamplingBackend(
        bundle, calls=given.calls, tokens=given.tokens, seed=given.seed, threads=given.threads
    )
    with Janus(bundle, backend) as janus:
        for number, item in enumerate(items):
            run_item(janus, item, number, options, counts, lambda part: None)
            print(f"\r{number + 1} of {len(items)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if backend.rows.too_short:
        print(f"{backend.rows.too_short} rows are shorter than {given.tokens}", file=sys.stderr)
    given.folder.mkdir(parents=True, exist_ok=True)
    graphs = {}
    for graph, sample in backend.samples.items():
        if not sample.kept:
            raise SystemExit(f"{graph.value}: nothing to keep; give more items or fewer --tokens")
        feeds = backend.rows.feeds() if graph is Graph.LANGUAGE_MODEL else sample.kept
        write_feeds(given.folder / f"{graph.value}.npz", feeds)
        graphs[graph.value] = {
            "offered": sample.offered,
            "kept": len(feeds),
            "shapes": {
                n: str(a.shape) for n, a in feeds[0].items() if n.endswith(".0") or "." not in n
            },
        }
    report = json.dumps({"bundle": bundle.digest, **counts, "graphs": graphs}, indent=1)
    (given.folder / "feeds.json").write_text(report + "\n", "utf-8")
    print(report)


if __name__ == "__main__":
    main()
