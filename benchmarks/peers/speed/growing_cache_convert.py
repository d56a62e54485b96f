"""A checkpoint as ONNX graphs in the layout that transformers.js runs.

    work/peers/growing-cache/bin/python benchmarks/peers/speed/growing_cache_convert.py \
        CHECKPOINT FOLDER --weights q4 --image-decode work/bundle/graphs/vq_decoder.onnx

A graph per part (`language_model`, `gen_head`, `gen_img_embeds`, `image_decode`), as transformers.js
opens them for Janus; the language model takes embeddings, an attention mask and the past, and gives the
present, which is one position longer and new memory at every step. Its kernels are those of ONNX
Runtime's generative models: GroupQueryAttention, SkipSimplifiedLayerNormalization, and for q4
MatMulNBits with symmetric blocks of 32. transformers.js's own script leaves the accuracy level of
MatMulNBits unset (products of floats), as `language_model-level-0` has it; level 4 (8-bit products) is
what is fast on a CPU.
``image_decode`` is janus-edge's float graph, copied: a plain export as theirs.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from checkpoint_reader import CheckpointReader
from numpy.typing import NDArray
from onnx import TensorProto, helper, save
from work import Work

MICROSOFT, BLOCK = "com.microsoft", 32
_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}


class GraphFile:
    """A graph under construction, whose weights are written to a file beside it as they come."""

    def __init__(self, path: Path) -> None:
        self._path, self._nodes, self._weights = path, [], []  # type: ignore[var-annotated]
        self._data = open(path.with_suffix(".weights"), "wb")  # noqa: SIM115  # closed by save

    def add(
        self, op: str, inputs: list[str], name: str, domain: str = "", outputs: list[str] | None = None,
        **attributes: Any,
    ) -> str:  # fmt: skip
        node = helper.make_node(op, inputs, outputs or [name], name, domain=domain, **attributes)
        self._nodes.append(node)
        return str(node.output[0])

    def weight(self, name: str, values: NDArray[Any]) -> str:
        values = np.ascontiguousarray(values)
        self._data.write(b"\0" * (-self._data.tell() % 4096))
        tensor = TensorProto(name=name, dims=values.shape, data_type=_TYPES[values.dtype.name])
        tensor.data_location = TensorProto.EXTERNAL
        where = {
            "location": self._path.with_suffix(".weights").name,
            "offset": self._data.tell(),
            "length": values.nbytes,
        }
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        self._data.write(values.data)
        self._weights.append(tensor)
        return name

    def constant(self, name: str, values: list[int]) -> str:
        self._weights.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def save(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Write it; with products of 4 bits also as NAME-level-0, which has the same weights."""
        ports = [
            [
                helper.make_tensor_value_info(name, kind, shape)
                for name, (kind, shape) in side.items()
            ]
            for side in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, self._path.stem, *ports, self._weights)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        self._data.close()
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        save(model, self._path)
        if not any(node.op_type == "MatMulNBits" for node in self._nodes):
            return
        for node in model.graph.node:
            kept = [a for a in node.attribute if a.name != "accuracy_level"]
            del node.attribute[:]
            node.attribute.extend(kept)
        save(model, self._path.with_stem(f"{self._path.stem}-level-0"))


class Linears:
    """Products with a checkpoint's matrices, in float or in blocks of 4 bits."""

    def __init__(self, graph: GraphFile, read: CheckpointReader, quantised: bool) -> None:
        self._graph, self._read, self._quantised = graph, read, quantised

    def __call__(self, x: str, name: str) -> str:
        matrix = self._read(f"{name}.weight")  # [out, in]
        if not self._quantised:
            return self._graph.add(
                "MatMul", [x, self._graph.weight(f"{name}.w", matrix.T)], f"{name}/MatMul"
            )
        packed, scales = four_bits(matrix)
        inputs = [
            x,
            self._graph.weight(f"{name}.q", packed),
            self._graph.weight(f"{name}.s", scales),
        ]
        return self._graph.add(
            "MatMulNBits", inputs, f"{name}/MatMul", MICROSOFT, K=matrix.shape[1], N=matrix.shape[0], bits=4,
            block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip


def four_bits(matrix: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """[N, K] as MatMulNBits reads it: [N, K/32, 16] with the earlier value in the low half; scales.

    A block's value of largest size becomes -8, as in ONNX Runtime's own symmetric quantiser.
    """
    blocks = matrix.reshape(len(matrix), -1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    scales = largest / -8
    levels = np.divide(blocks, scales, out=np.zeros_like(blocks), where=scales != 0)
    levels = np.clip(np.rint(levels) + 8, 0, 15).astype(np.uint8)
    packed: NDArray[np.uint8] = levels[..., ::2] | levels[..., 1::2] << 4
    return packed, scales[..., 0].astype(np.float32)


def language_model(path: Path, work: Work, read: CheckpointReader, quantised: bool) -> None:
    graph = GraphFile(path)
    linear = Linears(graph, read, quantised)
    positions = np.arange(4096)[:, None] / work.rope_theta ** (
        np.arange(0, work.head_dim, 2) / work.head_dim
    )
    cos = graph.weight("cos", np.cos(positions).astype(np.float32))
    sin = graph.weight("sin", np.sin(positions).astype(np.float32))
    lengths = graph.add(
        "ReduceSum", ["attention_mask", graph.constant("axis", [1])], "sum", keepdims=0
    )
    last = graph.add("Sub", [lengths, graph.constant("one", [1])], "last")
    seqlens = graph.add("Cast", [last], "seqlens_k", to=TensorProto.INT32)
    total = graph.add("Shape", ["attention_mask"], "size", start=1, end=2)
    total = graph.add("Cast", [total], "total", to=TensorProto.INT32)
    total = graph.add("Squeeze", [total], "total_scalar")
    stem = "model.language_model"
    residual, x = "inputs_embeds", ""
    for index in range(work.layers):
        layer = f"{stem}.layers.{index}"
        if index == 0:
            scale = graph.weight(f"{layer}.n", read(f"{layer}.input_layernorm.weight"))
            x = graph.add(
                "SimplifiedLayerNormalization", [residual, scale], f"{layer}/norm", epsilon=work.epsilon,
                axis=-1, stash_type=1,
            )  # fmt: skip
        qkv = [linear(x, f"{layer}.self_attn.{part}_proj") for part in "qkv"]
        past = [f"past_key_values.{index}.{part}" for part in ("key", "value")]
        attended = graph.add(
            "GroupQueryAttention", [*qkv, *past, seqlens, total, cos, sin], f"{layer}/attention", MICROSOFT,
            outputs=[f"{layer}/attended", f"present.{index}.key", f"present.{index}.value"],
            num_heads=work.heads, kv_num_heads=work.kv_heads, do_rotary=1,
        )  # fmt: skip
        out = linear(attended, f"{layer}.self_attn.o_proj")
        x, residual = _skip_norm(
            graph, out, residual, read, f"{layer}.post_attention_layernorm", work
        )
        gate = linear(x, f"{layer}.mlp.gate_proj")
        sigmoid = graph.add("Sigmoid", [gate], f"{layer}/sigmoid")
        silu = graph.add("Mul", [gate, sigmoid], f"{layer}/silu")
        gated = graph.add("Mul", [silu, linear(x, f"{layer}.mlp.up_proj")], f"{layer}/gated")
        down = linear(gated, f"{layer}.mlp.down_proj")
        following = (
            f"{stem}.layers.{index + 1}.input_layernorm"
            if index + 1 < work.layers
            else f"{stem}.norm"
        )
        x, residual = _skip_norm(graph, down, residual, read, following, work)
    graph.add("Identity", [x], "last_hidden_state")
    cache = (TensorProto.FLOAT, ["batch", work.kv_heads, None, work.head_dim])
    hidden = (TensorProto.FLOAT, ["batch", "new", work.hidden])
    names = [f"{i}.{part}" for i in range(work.layers) for part in ("key", "value")]
    graph.save(
        {"inputs_embeds": hidden, "attention_mask": (TensorProto.INT64, ["batch", "total"]),
         **{f"past_key_values.{n}": cache for n in names}},
        {"last_hidden_state": hidden, **{f"present.{n}": cache for n in names}},
    )  # fmt: skip


def _skip_norm(
    graph: GraphFile, x: str, residual: str, read: CheckpointReader, name: str, work: Work
) -> tuple[str, str]:
    scale = graph.weight(f"{name}.n", read(f"{name}.weight"))
    graph.add(
        "SkipSimplifiedLayerNormalization", [x, residual, scale], f"{name}/skip", MICROSOFT,
        outputs=[f"{name}/out", "", "", f"{name}/sum"], epsilon=work.epsilon,
    )  # fmt: skip
    return f"{name}/out", f"{name}/sum"


def perceptron(
    path: Path,
    read: CheckpointReader,
    layers: list[str],
    inputs: dict[str, Any],
    output: str,
    table: str = "",
) -> None:
    """Products with biases and GELU between them, behind a table of embeddings if there is one."""
    graph = GraphFile(path)
    x = next(iter(inputs))
    if table:
        x = graph.add("Gather", [graph.weight("table", read(table)), x], "gather")
    for index, layer in enumerate(layers):
        if index:
            x = graph.add("Gelu", [x], f"{layer}/gelu")
        x = Linears(graph, read, quantised=False)(x, layer)
        x = graph.add(
            "Add", [x, graph.weight(f"{layer}.b", read(f"{layer}.bias"))], f"{layer}/bias"
        )
    graph.add("Identity", [x], output)
    graph.save(inputs, {output: (TensorProto.FLOAT, None)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", choices=["q4", "fp32"], default="q4")
    parser.add_argument("--image-decode", type=Path, help="vq_decoder.onnx of a float bundle")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    work, read = Work.of(given.checkpoint, 2), CheckpointReader(given.checkpoint)
    language_model(given.folder / "language_model.onnx", work, read, given.weights == "q4")
    hidden = {"hidden_states": (TensorProto.FLOAT, ["batch", "new", work.hidden])}
    head = [f"model.generation_head.{part}" for part in ("proj_out", "vision_head")]
    perceptron(given.folder / "gen_head.onnx", read, head, hidden, "logits")
    aligner = [f"model.generation_aligner.{part}" for part in ("fc1", "hidden_layers.0")]
    ids = {"image_ids": (TensorProto.INT64, ["batch", "new"])}
    table = "model.generation_embeddings.weight"
    perceptron(given.folder / "gen_img_embeds.onnx", read, aligner, ids, "inputs_embeds", table)
    if given.image_decode:
        for file in (given.image_decode, given.image_decode.with_suffix(".weights")):
            # a copy: libraries refuse weights that have several hard links
            shutil.copyfile(file, given.folder / file.name)


if __name__ == "__main__":
    main()
