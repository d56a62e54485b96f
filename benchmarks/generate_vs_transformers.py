"""Time per image token and peak memory: janus-edge against transformers, in one interleaved run.

    python benchmarks/generate_vs_transformers.py --checkpoint work/checkpoint-1b \
        --bundle work/bundle-1b-fp32 --steps 24 --rounds 5

Both paint one picture of the same prompt under guidance (two rows) in float32 on the CPU, each in
a process of its own that stays loaded; rounds alternate between them. transformers runs its own
`generate(generation_mode="image")`, shortened to --steps tokens, with its static cache as large as
for a whole picture. A step is the time from one token's logits to the next one's (janus-edge: from
one token to the next), so prompt and set-up are outside; they are in `first_token_seconds`. Peak
memory is the largest resident set of each process, loading included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from machine import describe

PROMPT = "a red fox sitting in fresh snow, photograph, soft morning light"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", choices=["janus-edge", "transformers"])
    args = parser.parse_args()
    if args.worker:
        serve(args)
        return
    workers = {name: start(name) for name in ("janus-edge", "transformers")}
    rounds: dict[str, list[dict[str, object]]] = {name: [] for name in workers}
    for number in range(args.rounds + 1):
        for name, worker in workers.items():
            result = ask(worker)
            if number:  # the first round warms up
                rounds[name].append(result)
            print(f"round {number} {name}: {summary(result['steps'])}", file=sys.stderr)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    text = json.dumps(report(args, rounds), indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", "utf-8")


def report(args: argparse.Namespace, rounds: dict[str, list[dict]]) -> dict[str, object]:
    results: dict[str, object] = {"machine": describe(), "prompt": PROMPT, "steps": args.steps}
    shown = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    results["command"] = " ".join(["python benchmarks/generate_vs_transformers.py", *shown])
    for name, runs in rounds.items():
        steps = [s for run in runs for s in run["steps"]]
        results[name] = {
            "rounds": len(runs),
            "step_seconds": {
                "median": statistics.median(steps),
                "p90": statistics.quantiles(steps, n=10)[8],
                "min": min(steps),
                "max": max(steps),
            },
            "first_token_seconds": statistics.median(run["first"] for run in runs),
            "peak_resident_bytes": runs[-1]["peak"],
        }
    ratios = [
        statistics.median(theirs["steps"]) / statistics.median(ours["steps"])
        for ours, theirs in zip(rounds["janus-edge"], rounds["transformers"], strict=True)
    ]
    results["transformers_over_janus_edge"] = {
        "step_ratio_median": statistics.median(ratios),
        "step_ratio_per_round": ratios,
    }
    return results


def summary(steps: list[float]) -> str:
    return f"median {1000 * statistics.median(steps):.1f} ms over {len(steps)} steps"


def start(name: str) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", *sys.argv, "--worker", name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(worker: subprocess.Popen) -> dict:
    worker.stdin.write("run\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def serve(args: argparse.Namespace) -> None:
    """Load once, then answer every line of standard input with one run's timings."""
    run = {"janus-edge": janus_edge_run, "transformers": transformers_run}[args.worker](args)
    for _ in sys.stdin:
        started = time.perf_counter()
        stamps = run()
        steps = [b - a for a, b in pairwise(stamps)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"first": stamps[0] - started, "steps": steps, "peak": peak}), flush=True)


def janus_edge_run(args: argparse.Namespace):
    from janus_edge import Janus

    janus = Janus.load(args.bundle, verify=False)

    def run() -> list[float]:
        stamps = []
        for _ in janus.generate_steps(PROMPT, seed=0):
            stamps.append(time.perf_counter())
            if len(stamps) == args.steps:
                break
        return stamps

    return run


def transformers_run(args: argparse.Namespace):
    import torch
    from transformers import JanusForConditionalGeneration, LogitsProcessor, LogitsProcessorList

    from janus_edge.export.checkpoint import Checkpoint
    from janus_edge.export.record import prompt_ids

    ids = prompt_ids(Checkpoint.open(args.checkpoint), PROMPT)[None]
    model = JanusForConditionalGeneration.from_pretrained(args.checkpoint, dtype=torch.float32)
    model.eval()
    vision = model.model.vision_model.config
    whole = vision.num_image_tokens
    vision.num_image_tokens = args.steps

    class Stamp(LogitsProcessor):
        def __init__(self) -> None:
            self.stamps: list[float] = []

        def __call__(self, _ids, scores):
            self.stamps.append(time.perf_counter())
            return scores

    def run() -> list[float]:
        stamp = Stamp()
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_mode="image",
            do_sample=True,
            guidance_scale=5,
            max_length=ids.shape[1] + whole,
            logits_processor=LogitsProcessorList([stamp]),
        )
        return stamp.stamps

    return run


if __name__ == "__main__":
    main()
