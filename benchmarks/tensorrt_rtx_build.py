"""Whether TensorRT-RTX parses and builds every graph of a bundle, without a GPU.

    python benchmarks/tensorrt_rtx_build.py work/bundle-1b-fp16 --sm 80,86,89,120 --json

Ahead of time: TensorRT-RTX compiles for the compute capabilities it is told, and needs no driver.
Networks are strongly typed, so that the precision is the graph's. Profiles follow from the graph
table: `language_model` gets one for prefill and one for a decoding step. Its cache has the fixed
capacity `--capacity`, because TensorRT takes no other. Attention may fall back to plain operators,
which float32 needs. Prints a table of graphs and compute capabilities with OK or the error.

In an environment of its own: pip install tensorrt-rtx onnx, and this repository without its
dependencies.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import onnx
import tensorrt_rtx as trt
from machine import describe, version

from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.errors import JanusEdgeError
from janus_edge.graphs import Graph, Port, signature

#: Least, usual and most of a symbol; ``S`` and ``C`` are of the model's size and not here.
Sizes = dict[str, tuple[int, int, int]]
PICTURES: Sizes = {"P": (1, 1, 8), "2P": (2, 2, 16)}


class Log(trt.ILogger):
    """Keeps what TensorRT-RTX calls an error, and the first word on whatever else it warns of."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        if severity <= trt.ILogger.Severity.ERROR:
            self.errors.append(" ".join(message.split()))
        elif severity == trt.ILogger.Severity.WARNING:
            self.warnings.append(" ".join(message.split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--graphs", type=names, default=tuple(Graph), help="default: all")
    parser.add_argument("--sm", type=capabilities, default=(80, 86, 89, 120))
    parser.add_argument("--together", action="store_true", help="one engine for all of --sm")
    parser.add_argument("--capacity", type=int, help="positions of the cache")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        bundle = Bundle.open(args.bundle)
        results = tried(bundle, args.graphs, targets(args.sm, args.together), args.capacity)
    except JanusEdgeError as wrong:
        raise SystemExit(f"{parser.prog}: {wrong}") from wrong
    report = {
        "machine": describe() | {"tensorrt_rtx": version("tensorrt_rtx")},
        "command": f"python benchmarks/tensorrt_rtx_build.py {args.bundle.name}",
        "recipe": bundle.manifest.recipe.name,
        "graphs": results,
    }
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1) if args.json else table(results))
    good = all(one["result"] == "OK" for graph in results.values() for one in graph.values())
    sys.exit(not good)


def names(text: str) -> tuple[Graph, ...]:
    try:
        return tuple(Graph(name) for name in text.split(","))
    except ValueError as unknown:
        raise argparse.ArgumentTypeError(f"{unknown}; graphs are {[*map(str, Graph)]}") from unknown


def capabilities(text: str) -> tuple[int, ...]:
    known = [n[2:] for n in trt.ComputeCapability.__members__ if n.startswith("SM")]
    for one in text.split(","):
        if one not in known:
            raise argparse.ArgumentTypeError(f"{one!r} is none of {', '.join(known)}")
    return tuple(map(int, text.split(",")))


def targets(sm: tuple[int, ...], together: bool) -> tuple[tuple[int, ...], ...]:
    return (sm,) if together else tuple((one,) for one in sm)


def tried(
    bundle: Bundle,
    graphs: tuple[Graph, ...],
    wanted: tuple[tuple[int, ...], ...],
    capacity: int | None,
) -> dict[str, dict[str, dict[str, object]]]:
    """For every graph and set of compute capabilities: OK or the error, seconds, bytes."""
    results: dict[str, dict[str, dict[str, object]]] = {}
    for graph in graphs:
        for sm in wanted:
            started = time.perf_counter()
            result, size, warnings = build(
                bundle.graph(graph), graph, bundle.manifest.config, sm, capacity
            )
            name = "+".join(f"SM{one}" for one in sm)
            results.setdefault(graph.value, {})[name] = {
                "result": result,
                "seconds": round(time.perf_counter() - started, 1),
                "bytes": size,
                "warnings": warnings,
            }
            print(f"{graph.value} {name}: {result}", file=sys.stderr)
    return results


def build(
    path: Path, graph: Graph, config: JanusConfig, sm: tuple[int, ...], capacity: int | None = None
) -> tuple[str, int, list[str]]:
    """Parse and build one graph for ``sm``: OK or the error, bytes of the engine, warnings."""
    sizes = shapes(config, capacity)
    log = Log()
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(fixed_capacity(path, sizes[0]["C"][0]), str(path)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        text = "; ".join(f"{e.node_operator()} {e.node_name()}: {e.desc()}" for e in errors)
        return f"parse: {' '.join(text.split())}", 0, log.warnings
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer  # the bindings give the base class
            layer.attention.decomposable = True
    options = builder.create_builder_config()
    options.num_compute_capabilities = len(sm)
    for i, one in enumerate(sm):
        options.set_compute_capability(getattr(trt.ComputeCapability, f"SM{one}"), i)
    ports = signature(graph, config).inputs
    for chosen in sizes if graph is Graph.LANGUAGE_MODEL else sizes[:1]:
        options.add_optimization_profile(profile(builder, ports, chosen))
    engine = builder.build_serialized_network(network, options)
    if engine is None:
        return f"build: {'; '.join(log.errors) or 'no engine, and no error said'}", 0, log.warnings
    return "OK", engine.nbytes, log.warnings


def fixed_capacity(path: Path, capacity: int) -> bytes:
    """The graph without its weights, its symbol ``C`` a number: TensorRT caches have one length."""
    model = onnx.load(str(path), load_external_data=False)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "C":
                dim.dim_value = capacity
    return model.SerializeToString()


def shapes(config: JanusConfig, capacity: int | None) -> tuple[Sizes, Sizes]:
    """Sizes of the symbols for prefill and for a decoding step; other graphs take the first."""
    most = config.language.max_positions
    positions = capacity or min(most, config.image_tokens + 64)
    if not 1 <= positions <= most:
        raise SystemExit(f"--capacity {positions}: the model has {most} positions")
    fixed = PICTURES | {"C": (positions,) * 3, "B": (1, 2, 16), "N": (1, 1, 16)}
    prompt = {"S": (1, min(64, positions), positions)}
    return fixed | prompt, fixed | {"S": (1, 1, 1)}


def profile(
    builder: trt.Builder, ports: tuple[Port, ...], sizes: Sizes
) -> trt.IOptimizationProfile:
    made = builder.create_optimization_profile()
    for port in ports:
        if any(isinstance(dim, str) and dim != "C" for dim in port.shape):
            shape = [sizes[dim] if isinstance(dim, str) else (dim,) * 3 for dim in port.shape]
            made.set_shape(port.name, *map(list, zip(*shape, strict=True)))
    return made


def table(results: dict[str, dict[str, dict[str, object]]]) -> str:
    columns = list(next(iter(results.values())))
    width = max(map(len, results))
    lines = [" ".join([" " * width, *(f"{c:>8}" for c in columns)])]
    errors: dict[str, list[str]] = {}
    for graph, row in results.items():
        cells = []
        for column, one in row.items():
            stage = str(one["result"]).partition(":")[0]
            cells.append(f"{stage:>{max(8, len(column))}}")
            if stage != "OK":
                errors.setdefault(str(one["result"]), []).append(f"{graph} {column}")
        lines.append(" ".join([f"{graph:{width}}", *cells]))
    lines += [f"{', '.join(where)}: {what}" for what, where in errors.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
