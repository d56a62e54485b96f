"""All peers at the same work on this machine, in turn, so that what else it does meets all of them.

    python benchmarks/peers/speed/run.py --checkpoint work/1b/checkpoint-1b --models work/1b \
        --environments work/peers --output benchmarks/results/peers-1b-cpu.json

For each item of work (`work.py`) as many peers are alive at a time as memory holds, always with the one
that ratios are taken against; a round asks each of them once, in an order that changes, and a ratio is
the median of the rounds' own. Workers load nothing that the item does not need. What a peer computed is
compared with transformers in float32. Results that the output has already are not taken again: give
``--again`` to replace them. ``--quick`` is a try of a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from agreement import agreement  # noqa: E402
from machine import describe  # noqa: E402
from peers import PEERS, REFERENCE, TRUTH, Peer, available  # noqa: E402
from summary import ratios, spread  # noqa: E402
from work import ITEMS  # noqa: E402
from worker_process import WorkerError, WorkerProcess  # noqa: E402

from janus_edge.atomic_file import written_aside  # noqa: E402

ROUNDS = {"step": 7, "prefill": 5, "vision": 5, "vq": 5, "picture": 1}
BY_NAME = {peer.name: peer for peer in PEERS}
#: Memory that is left to the system and to files' pages.
RESERVE = 3 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="in transformers' format")
    parser.add_argument("--models", type=Path, required=True, help="folder of prepare.py")
    parser.add_argument("--environments", type=Path, required=True, help="folder of install.sh")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--items", nargs="+", choices=ITEMS, default=list(ITEMS))
    parser.add_argument("--peers", nargs="+", choices=list(BY_NAME), default=list(BY_NAME))
    parser.add_argument("--rounds", type=int, help=f"of each item; by default {ROUNDS}")
    parser.add_argument(
        "--warm-up", type=int, default=1, help="rounds that do not count; none of pictures"
    )
    parser.add_argument("--steps", type=int, default=24, help="of a round of the item 'step'")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--scratch", type=Path, help="results to compare, and logs; by default MODELS/peers"
    )
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--quick", action="store_true", help="4 steps, 2 rounds, no picture")
    given = parser.parse_args()
    if given.quick:
        given.steps, given.rounds = 4, given.rounds or 2
        given.items = [item for item in given.items if item != "picture"]
    given.scratch = given.scratch or given.models / "peers"
    given.scratch.mkdir(parents=True, exist_ok=True)
    report = json.loads(given.output.read_text("utf-8")) if given.output.exists() else {}
    settings = {"threads": given.threads, "steps": given.steps, "warm_up": given.warm_up}
    if report.get("settings", settings) != settings:
        raise SystemExit(f"{given.output}: was made with {report['settings']}, not {settings}")
    report.update(settings=settings, machine=describe(), command=_command())
    for item in given.items:
        _item(given, item, report)


def _item(given: argparse.Namespace, item: str, report: dict[str, Any]) -> None:
    found = report.setdefault("items", {}).setdefault(item, {"peers": {}, "groups": []})
    found["reference"] = REFERENCE[item]
    wanted = [BY_NAME[n] for n in given.peers if item in BY_NAME[n].items]
    if given.again:
        found["peers"] = {n: v for n, v in found["peers"].items() if n not in given.peers}
    missing = [peer for peer in wanted if "seconds" not in found["peers"].get(peer.name, {})]
    reference = BY_NAME[REFERENCE[item]]
    queue = [peer for peer in missing if peer is not reference]
    if not queue and reference in missing:
        queue = [reference]
    while queue:
        with ExitStack() as stack:
            alive = _start(given, item, stack, [reference], found)
            if not alive:
                raise SystemExit(
                    f"{item}: {reference.name} does not run: {found['peers'][reference.name]}"
                )
            alive += _start(given, item, stack, queue, found, alive)
            _measure(given, item, alive, found)
        _save(given, report, item)


def _start(
    given: argparse.Namespace, item: str, stack: ExitStack, queue: list[Peer], found: dict[str, Any],
    alive: list[WorkerProcess] | None = None,
) -> list[WorkerProcess]:  # fmt: skip
    """Start peers from the head of ``queue``, and take them off it, as long as memory holds them."""
    started: list[WorkerProcess] = []
    checkpoint_bytes = sum(p.stat().st_size for p in given.checkpoint.glob("*.safetensors"))
    while queue:
        peer, row = queue[0], found["peers"].setdefault(queue[0].name, {})
        if alive and peer is alive[0].peer:
            queue.pop(0)
            continue
        # files that are mapped count as available memory, and are read anew once they are driven out
        shares = sum(w.peer.share for w in [*(alive or []), *started]) + peer.share
        if started and shares * checkpoint_bytes > _memory("MemTotal") - RESERVE:
            break
        queue.pop(0)
        lacking = available(given.models, given.environments, peer)
        if lacking:
            row["failed"] = lacking
            continue
        print(f"{item}: {peer.name} loads", file=sys.stderr)
        try:
            worker = WorkerProcess(
                peer, item, checkpoint=given.checkpoint, models=given.models,
                environments=given.environments, threads=given.threads, steps=given.steps,
                log=given.scratch / f"{item}-{peer.file_name}.log",
            )  # fmt: skip
        except WorkerError as failure:
            row["failed"] = str(failure)
            print(f"{item}: {peer.name}: {failure}", file=sys.stderr)
            continue
        started.append(stack.enter_context(worker))
    return started


def _measure(
    given: argparse.Namespace, item: str, alive: list[WorkerProcess], found: dict[str, Any]
) -> None:
    """Rounds over ``alive``, the first of them the reference; fills in their rows and a group."""
    rounds: dict[str, list[list[float]]] = {worker.peer.name: [] for worker in alive}
    memory: dict[str, dict[str, int]] = {}
    least, shuffled = _memory("MemAvailable"), random.Random(len(found["groups"]))
    warm_up = 0 if item == "picture" else given.warm_up  # one of 576 steps is no matter
    for number in range(warm_up + (given.rounds or ROUNDS[item])):
        for worker in shuffled.sample(alive, len(alive)):
            name = worker.peer.name
            if name not in rounds:
                continue
            try:
                answer = worker.ask(do="run", times=1)
            except WorkerError as failure:
                found["peers"][name]["failed"] = str(failure)
                rounds.pop(name)
                continue
            least, memory[name] = min(least, _memory("MemAvailable")), answer["memory"]
            if number >= warm_up:
                rounds[name].append(answer["seconds"])
            shown = f"{1000 * spread(answer['seconds'])['median']:.1f} ms"
            print(f"{item} round {number}: {name}: {shown}", file=sys.stderr)
    idle = {}
    for worker in alive:
        if worker.peer.name in rounds:
            idle[worker.peer.name] = worker.processor_seconds() - worker.own_seconds
            worker.ask(do="output", to=str(_output(given, item, worker.peer.name)))
    reference = alive[0].peer.name
    found["groups"].append(
        {"rounds": dict(rounds), "load": os.getloadavg(),
         "least_available_bytes": least}
    )  # fmt: skip
    for worker in alive:
        name = worker.peer.name
        if name not in rounds:
            continue
        flat = [s for one in rounds[name] for s in one]
        if name == reference and "seconds" in found["peers"].get(name, {}):
            continue
        found["peers"][name] = {
            "seconds": spread(flat),
            "over_reference": ratios(rounds[name], rounds[reference]),
            "memory": memory[name],
            "load_seconds": worker.ready["load_seconds"],
            "idle_processor_seconds": idle[name],
            "versions": worker.ready["versions"],
            "notes": worker.ready["notes"],
            "group": len(found["groups"]) - 1,
        }


def _output(given: argparse.Namespace, item: str, name: str) -> Path:
    return Path(given.scratch, f"{item}-{BY_NAME[name].file_name}.npy")


def _save(given: argparse.Namespace, report: dict[str, Any], item: str) -> None:
    truth = _output(given, item, TRUTH)
    for name, row in report["items"][item]["peers"].items():
        if "seconds" in row and item != "picture" and truth.exists():
            row["agreement"] = agreement(item, _output(given, item, name), truth)
    with written_aside(given.output) as aside:
        aside.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def _memory(what: str) -> int:
    found = re.search(rf"{what}:\s*(\d+) kB", Path("/proc/meminfo").read_text("utf-8"))
    assert found
    return int(found[1]) * 1024


def _command() -> str:
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return " ".join(["python benchmarks/peers/speed/run.py", *words])


if __name__ == "__main__":
    main()
