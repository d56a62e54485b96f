"""The language model's int4 step on this processor: what each choice of ort-cpu costs or saves.

    python benchmarks/cpu_step.py work/cpu-step --output benchmarks/results/cpu-step.json

Random weights at the 1B's dimensions, two rows, one new token at position 300. All variants are open
in one process and take their steps in turns; a ratio is the median of the rounds' ratios to the base,
which is what `janus-edge build --target ort-cpu` makes of an int4-weight bundle. The limit is the
bytes that a step must read over the measured bandwidth. --layers 2 is for a first look; then the
weights may fit into the last cache, which the output says.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import random_language_model
from machine import describe

from janus_edge.atomic_file import written_aside
from janus_edge.bench.bandwidth import Bandwidth, buffer_size, measure_bandwidth
from janus_edge.bench.machine import describe as describe_machine
from janus_edge.bench.weight_bytes import read_weight_bytes
from janus_edge.config import JanusConfig
from janus_edge.engines.lowering import group_query_attention, joined_projections, skip_norm
from janus_edge.engines.lowering.lowered_file import lower_graph, write_graph
from janus_edge.engines.lowering.passes import Pass, load
from janus_edge.runtime.kv_cache import KVCache

PASSES = {
    "joined_projections": joined_projections.rewrite,
    "group_query_attention": group_query_attention.rewrite,
    "skip_norm": skip_norm.rewrite,
}


@dataclass(frozen=True)
class Variant:
    """What is built, and how it is opened; ``threads`` 0 is one for each core."""

    block: int = 32
    int8_cache: bool = False
    passes: tuple[str, ...] = tuple(PASSES)
    accuracy: int = 4
    threads: int = 0
    entries: dict[str, str] = field(default_factory=dict)

    def without(self, name: str) -> Variant:
        return replace(self, passes=tuple(p for p in self.passes if p != name))

    @property
    def file(self) -> str:
        cache = "int8" if self.int8_cache else "float"
        return "-".join([f"block{self.block}", cache, *self.passes])


def variants(base: Variant) -> dict[str, Variant]:
    blocks = {f"block {b}": replace(base, block=b) for b in (32, 64, 128, 256)}
    accuracies = {f"accuracy level {a}": replace(base, accuracy=a) for a in (0, 1)}
    caches = {
        f"block {b}, int8 cache": replace(base, block=b, int8_cache=True) for b in (32, 128, 256)
    }
    return {
        "base": base,
        **{name: found for name, found in blocks.items() if found != base},
        **caches,
        "standard attention": base.without("group_query_attention"),
        "projections apart": base.without("joined_projections"),
        "norms apart": base.without("skip_norm"),
        **accuracies,
        "one thread": replace(base, threads=1),
        "no spinning": replace(base, entries={"session.intra_op.allow_spinning": "0"}),
        "no prepacking": replace(base, entries={"session.disable_prepacking": "1"}),
    }


def built(variant: Variant, config: JanusConfig, folder: Path) -> Path:
    """The lowered graph of a variant; what is there already is not made again."""
    path = folder / variant.file / "language_model.onnx"
    if path.exists():
        return path
    cache = "int8" if variant.int8_cache else "float"
    source = folder / f"source-{variant.block}-{cache}" / "language_model.onnx"
    if not source.exists():
        random_language_model.write(
            config, source, block=variant.block, int8_cache=variant.int8_cache
        )
    model = load(source)
    lower_graph(model, "language_model", [Pass(name, PASSES[name]) for name in variant.passes])
    aside = folder / f"making-{variant.file}"
    write_graph(model, aside / path.name)
    aside.rename(path.parent)
    return path


@dataclass(frozen=True)
class Opened:
    """A step that can be run, what it reads, and what opening it took."""

    run: Callable[[], Any]
    bytes: dict[str, int]
    seconds: float
    resident: int
    kept: tuple[Any, ...]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def opened(variant: Variant, path: Path, config: JanusConfig, options: Any) -> Opened:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = variant.threads, 3
    entries = {"session.qdq_matmulnbits_accuracy_level": str(variant.accuracy), **variant.entries}
    for key, value in entries.items():
        settings.add_session_config_entry(key, value)
    before, began = resident_bytes(), time.perf_counter()
    session = ort.InferenceSession(
        str(path), settings, providers=["CPUExecutionProvider"],
        disabled_optimizers=["QDQPropagationTransformer"],
    )  # fmt: skip
    seconds = time.perf_counter() - began
    lm, rng = config.language, np.random.default_rng(0)
    cache = KVCache(
        lm,
        options.rows,
        options.capacity,
        np.int8 if variant.int8_cache else np.float32,
        np.float32,
    )
    for buffer in cache.buffers:
        values = rng.normal(size=buffer.shape).astype(np.float32)
        buffer[:] = np.rint(values * 20) if variant.int8_cache else values
    cache.lengths[:] = options.position
    shape = (options.rows, 1, lm.hidden_size)
    inputs = {
        "inputs_embeds": rng.normal(size=shape).astype(np.float32),
        "past_lengths": cache.lengths, **cache.named("past"),
    }  # fmt: skip
    outputs = {
        "hidden_states": np.zeros(shape, np.float32),
        "lengths": np.zeros(options.rows, np.int64), **cache.named("present"),
    }  # fmt: skip
    binding = session.io_binding()
    for bind, arrays in (
        (binding.bind_ortvalue_input, inputs), (binding.bind_ortvalue_output, outputs),
    ):  # fmt: skip
        for name, array in arrays.items():
            bind(name, ort.OrtValue.ortvalue_from_numpy(np.asarray(array)))
    session.run_with_iobinding(binding)
    assert np.isfinite(outputs["hidden_states"]).all()
    weights = read_weight_bytes(path)
    read = {
        "weights": weights.read(options.rows),
        "cache": cache.nbytes // options.capacity * (options.position + 1),
    }
    return Opened(
        lambda: session.run_with_iobinding(binding), read, seconds, resident_bytes() - before,
        (session, inputs, outputs),
    )  # fmt: skip


def measure(
    steps: dict[str, Opened], rounds: int, burst: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of single steps, variant by variant in turns, beginning elsewhere each round."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            steps[name].run()  # the others' weights are in the caches
            times = []
            for _ in range(burst):
                began = clock()
                steps[name].run()
                times.append(clock() - began)
            found[name].append(statistics.median(times))
    return found


def told(opened: Opened, times: list[float], base: list[float], bandwidth: Bandwidth) -> Any:
    ordered, total = sorted(times), sum(opened.bytes.values())
    median = statistics.median(ordered)
    return {
        "milliseconds": {
            "median": round(median * 1e3, 3),
            "p90": round(ordered[int(0.9 * (len(ordered) - 1))] * 1e3, 3),
            "min": round(ordered[0] * 1e3, 3),
        },
        "ratio to base": round(
            statistics.median(t / b for t, b in zip(times, base, strict=True)), 4
        ),
        "bytes": opened.bytes,
        "limit milliseconds": round(total / bandwidth.bytes_per_second * 1e3, 3),
        "share of limit": round(total / bandwidth.bytes_per_second / median, 4),
        "seconds to open": round(opened.seconds, 2),
        "resident bytes": opened.resident,
    }


def parsed() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where graphs are made and kept")
    parser.add_argument("--dimensions", default="1b", choices=["tiny", "1b", "7b"])
    parser.add_argument("--layers", type=int, default=0, help="0: all")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--position", type=int, default=300)
    parser.add_argument("--capacity", type=int, default=640)
    parser.add_argument("--block", type=int, default=32, help="the base's")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--burst", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="the base's; 0: one for each core")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="one thread's processor time, for a machine that is busy otherwise",
    )
    parser.add_argument("--only", nargs="*", help="names of variants besides the base")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    config = random_language_model.dimensions(options.dimensions, options.layers)
    threads = 1 if options.processor_time else options.threads
    chosen = variants(Variant(block=options.block, threads=threads))
    if options.only is not None:
        chosen = {name: v for name, v in chosen.items() if name in ("base", *options.only)}
    folder = options.folder / f"{options.dimensions}-{config.language.layers}"
    steps = {}
    for name, variant in chosen.items():
        steps[name] = opened(variant, built(variant, config, folder), config, options)
        print(f"{name}: open in {steps[name].seconds:.1f} s", flush=True)
    machine = describe_machine()
    clock = time.thread_time if options.processor_time else time.perf_counter
    probe_clock = time.process_time if options.processor_time else clock
    bandwidth = measure_bandwidth(threads or machine.cores, buffer_size(machine), clock=probe_clock)
    times = measure(steps, options.rounds, options.burst, clock)
    results = {n: told(steps[n], times[n], times["base"], bandwidth) for n in steps}
    print(f"bandwidth {bandwidth.bytes_per_second / 1e9:.1f} GB/s with {bandwidth.threads} threads")
    for name, found in results.items():
        print(
            f"{name:26} {found['milliseconds']['median']:9.2f} ms  "
            f"{found['ratio to base']:7.3f} of the base  {100 * found['share of limit']:5.1f} % of "
            f"the limit {found['limit milliseconds']:.2f} ms  {found['resident bytes'] / 2**20:6.0f} MiB"
        )
    least = min(sum(step.bytes.values()) for step in steps.values())
    report = {
        "machine": describe(),
        "bandwidth bytes per second": round(bandwidth.bytes_per_second),
        "fits the last cache": least < machine.cache_bytes,
        "settings": {k: str(v) for k, v in vars(options).items() if k not in ("output", "folder")},
        "variants": results,
    }
    with written_aside(options.output) as aside:
        aside.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
