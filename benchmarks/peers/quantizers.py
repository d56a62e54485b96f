"""One graph of a bundle, quantised by a library instead of by janus-edge, for the table of results.

    PYTHONPATH=. python benchmarks/peers/quantizers.py --library ort --method int4-gptq \
        --graph language_model work/bundle work/quantised \
        --calibration-feeds work/feeds/language_model.npz

Writes NAME.onnx, its external data NAME.weights, and NAME.json with what was done into the folder;
`benchmarks/quantization.py --graphs` makes a bundle of them. The feeds are what `record_feeds.py`
wrote (`feeds.py` tells the format).

`int8` is W8A8: signed and symmetric, weights per channel, inputs per tensor with their ranges by
`--range`. The other methods are weight-only, with blocks of `--block` along K. Libraries and what
each method needs and gives are in LIBRARIES. The nodes are those of janus-edge's recipe of the same
kind (RECIPES); with `--nodes all` the heads' as well, with `--nodes library` the library chooses.

    ort       pip install onnxruntime onnx, for int4-hqq and int4-gptq also torch
    modelopt  pip install torch; pip install --no-deps nvidia-modelopt onnxruntime onnx, and the rest
              of its extra `onnx`: its pinned onnxruntime 1.24 has no TensorScatter (language_model)
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from feeds import Feeds, read_feeds
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader

from janus_edge.bundle import Bundle
from janus_edge.calib.operands import operands_of
from janus_edge.calib.recipes import quantised_recipe
from janus_edge.errors import JanusEdgeError
from janus_edge.graphs import Graph


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """The feeds in order; the methods beyond ``get_next`` are modelopt's."""

    def __init__(self, feeds: Feeds) -> None:
        self.feeds = feeds
        self.rewind()

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)

    def get_first(self) -> dict[str, NDArray[Any]]:
        return self.feeds[0]

    def rewind(self) -> None:
        self._left = iter(self.feeds)


class Job:
    """What a method gets: the graph with its weights, its file, the nodes and the options."""

    def __init__(self, path: Path, args: argparse.Namespace) -> None:
        self.path = path
        self.options = args
        self.model = onnx.load(str(path))
        kinds = {"MatMul"} if args.method != "int8" else {"MatMul", "Gemm", "Conv"}
        of_kind = [n.name for n in self.model.graph.node if n.op_type in kinds]
        ours = set(chosen(self.model.graph, args.graph, args.method, args.nodes))
        free = args.nodes == "library"
        self.nodes = of_kind if free else [n for n in of_kind if n in ours]
        self.excluded = [] if free else [n for n in of_kind if n not in ours]
        if not self.nodes:
            raise SystemExit(f"{path.stem} has no node for {args.method}")

    def reader(self) -> Reader:
        if self.options.calibration_feeds is None:
            raise SystemExit(f"{self.options.method} needs --calibration-feeds")
        return Reader(read_feeds(self.options.calibration_feeds))


def chosen(graph: onnx.GraphProto, name: str, method: str, nodes: str = "ours") -> list[str]:
    """The nodes of the graph ``name`` that janus-edge can quantise, or its recipe does (ours)."""
    recipe = quantised_recipe(RECIPES.get(method, "int4-weight"), "float32")
    every = [o.node for o in operands_of(graph)]
    return every if nodes == "all" else [n for n in every if recipe.scheme(name, n)]


def ort_int8(job: Job) -> onnx.ModelProto:
    """Static QDQ; a pair of its own for every reader, which ONNX Runtime's x86 fusions need."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    method = {
        "max": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[job.options.range]
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "DedicatedQDQPair": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm", "Conv"],
        "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1, "Gemm": 1, "Conv": 0},
        "MatMulConstBOnly": True,
    }
    done = job.path.with_name("done.onnx")
    quantize_static(
        job.path,
        done,
        job.reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=job.nodes,
        calibrate_method=method,
        extra_options=options,
    )
    return onnx.load(str(done))


def ort_weight_only(algorithm: str, bits: int) -> Callable[[Job], onnx.ModelProto]:
    def quantise(job: Job) -> onnx.ModelProto:
        from onnxruntime.quantization import QuantFormat
        from onnxruntime.quantization import matmul_nbits_quantizer as nbits

        block, symmetric = job.options.block, not job.options.asymmetric
        form = QuantFormat.QDQ if bits == 4 else QuantFormat.QOperator  # it knows no QDQ of 8 bits
        config = {
            "default": lambda: nbits.DefaultWeightOnlyQuantConfig(
                block_size=block, is_symmetric=symmetric, bits=bits, quant_format=form
            ),
            "hqq": lambda: nbits.HQQWeightOnlyQuantConfig(block_size=block, bits=bits),
            "gptq": lambda: nbits.GPTQWeightOnlyQuantConfig(job.reader()),
            "k_quant": lambda: nbits.KQuantWeightOnlyQuantConfig(),
        }[algorithm]()
        quantizer = nbits.MatMulNBitsQuantizer(
            job.model,
            block_size=block,  # k-quant and GPTQ take block and sign from here
            is_symmetric=symmetric,
            accuracy_level=4,
            nodes_to_exclude=job.excluded,
            algo_config=config,
        )
        quantizer.process()
        return quantizer.model.model

    return quantise


def modelopt(mode: str, method: str | None) -> Callable[[Job], onnx.ModelProto]:
    def quantise(job: Job) -> onnx.ModelProto:
        # not `import ... as`: the package has a function of the module's name
        library: Any = importlib.import_module("modelopt.onnx.quantization.quantize")
        # It forgets the types that the graph states and infers them again, which onnx cannot do
        # across GroupNormalization: the inputs of all later convolutions would stay float.
        library.clear_stale_value_info = lambda model: 0
        options: dict[str, object] = {"block_size": job.options.block}
        if mode == "int8":
            patterns = [f"^{re.escape(name)}$" for name in job.nodes]
            options = {
                "dq_only": True,  # the weights as int8, not as float with Q/DQ
                "nodes_to_quantize": patterns if job.options.nodes == "ours" else None,
                "enable_gemv_detection_for_trt": job.options.nodes == "library",
            }
        done = job.path.with_name("done.onnx")
        library.quantize(
            str(job.path),
            quantize_mode=mode,
            calibration_method=method or job.options.range,
            calibration_data_reader=job.reader(),
            calibration_eps=["cpu"],
            nodes_to_exclude=list(job.excluded),
            high_precision_dtype="fp32",
            use_external_data_format=True,
            use_zero_point=job.options.asymmetric,
            output_path=str(done),
            log_level="WARNING",
            enable_shared_constants_duplication=False,  # the rotary tables, once for every layer
            **options,
        )
        return onnx.load(str(done))

    return quantise


#: Which recipe of janus-edge has the nodes of a method; int4-weight for all others.
RECIPES = {"int8": "int8", "int8-weight": "int8-weight"}

LIBRARIES: dict[str, dict[str, Callable[[Job], onnx.ModelProto]]] = {
    "ort": {
        "int8": ort_int8,  # Q/DQ
        "int8-weight": ort_weight_only("default", 8),  # MatMulNBits
        "int4-rtn": ort_weight_only("default", 4),  # DequantizeLinear
        "int4-hqq": ort_weight_only("hqq", 4),  # MatMulNBits, zero points are floats
        "int4-gptq": ort_weight_only("gptq", 4),  # MatMulNBits
        "int4-k-quant": ort_weight_only("k_quant", 4),  # MatMulNBits, asymmetric
    },
    "modelopt": {
        "int8": modelopt("int8", None),  # Q/DQ; ranges max and entropy
        "int4-rtn": modelopt("int4", "rtn_dq"),  # DequantizeLinear
        "int4-awq-lite": modelopt("int4", "awq_lite"),  # Mul and DequantizeLinear
        "int4-awq-clip": modelopt("int4", "awq_clip"),  # DequantizeLinear
        "int4-awq-full": modelopt("int4", "awq_full"),  # Mul and DequantizeLinear
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=list(LIBRARIES), required=True)
    methods = dict.fromkeys(m for library in LIBRARIES.values() for m in library)
    parser.add_argument("--method", choices=list(methods), required=True)
    parser.add_argument("--graph", choices=[g.value for g in Graph], required=True)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calibration-feeds", type=Path)
    parser.add_argument("--range", choices=["max", "entropy", "percentile"], default="max")
    parser.add_argument("--block", type=int, default=32)
    parser.add_argument("--asymmetric", action="store_true")
    parser.add_argument("--nodes", choices=["ours", "all", "library"], default="ours")
    args = parser.parse_args()
    if args.method not in LIBRARIES[args.library]:
        parser.error(f"{args.library} knows {', '.join(LIBRARIES[args.library])}")
    if args.library == "modelopt" and args.method == "int8" and args.range == "percentile":
        parser.error("modelopt knows the ranges max and entropy")
    try:
        source = Bundle.open(args.bundle).graph(Graph(args.graph))
    except JanusEdgeError as wrong:
        raise SystemExit(f"{parser.prog}: {wrong}") from wrong
    onnxruntime.set_default_logger_severity(3)  # every call would warn that the cache is copied
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:  # libraries write beside what they read
        for file in (source, source.with_suffix(".weights")):
            if file.exists():
                shutil.copy(file, work)
        job = Job(Path(work) / source.name, args)
        before = job.model.graph
        model = LIBRARIES[args.library][args.method](job)
        same_interface(before, model.graph)
        save(model, args.folder / source.name)
    report = json.dumps(described(model, args, time.perf_counter() - started), indent=1)
    (args.folder / f"{args.graph}.json").write_text(report + "\n", "utf-8")
    print(report)


def same_interface(before: onnx.GraphProto, after: onnx.GraphProto) -> None:
    """Fail where the library changed an input or output: the runtime would refuse the graph."""
    for old, new in ((before.input, after.input), (before.output, after.output)):
        if [(v.name, v.type.tensor_type.elem_type) for v in old] != [
            (v.name, v.type.tensor_type.elem_type) for v in new
        ]:
            sys.exit("the library changed the names or types of the graph's inputs or outputs")


def save(model: onnx.ModelProto, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = path.with_suffix(".weights")
    weights.unlink(missing_ok=True)  # onnx would append
    domains = {o.domain for o in model.opset_import}
    for domain in {n.domain for n in model.graph.node} - domains - {"", "ai.onnx"}:
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))  # k-quant forgets it
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=weights.name,
        size_threshold=1024,
    )


def described(
    model: onnx.ModelProto, args: argparse.Namespace, seconds: float
) -> dict[str, object]:
    files = [p for p in args.folder.glob(f"{args.graph}.*") if p.suffix in (".onnx", ".weights")]
    return {
        "library": args.library,
        "method": args.method,
        "nodes": args.nodes,
        "graph": args.graph,
        "seconds": round(seconds, 1),
        "bytes": sum(p.stat().st_size for p in files),
        "opsets": {o.domain or "onnx": o.version for o in model.opset_import},
        "operators": dict(Counter(n.op_type for n in model.graph.node).most_common()),
    }


if __name__ == "__main__":
    main()
