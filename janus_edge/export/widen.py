"""Widening a bfloat16 graph to float32, exactly, so that a CPU can run it for a check.

Every bfloat16 value is a float32 value, so the weights lose nothing; only the rounding of
intermediate results to bfloat16 is absent from such a run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

_PIECE = 1 << 24


@contextmanager
def widen(model: onnx.ModelProto, folder: Path) -> Iterator[onnx.ModelProto]:
    """``model`` with bfloat16 replaced by float32; itself if it has none.

    ``folder`` holds the external data; widened weights stand in a temporary file there until the
    block is left, by when the session has read them.
    """
    graph = model.graph
    narrow = [i for i in graph.initializer if i.data_type == TensorProto.BFLOAT16]
    infos = [*graph.input, *graph.output]
    if not narrow and not any(_is_bfloat16(info) for info in infos):
        yield model
        return
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".widened") as file:
        wide = onnx.ModelProto()
        wide.CopyFrom(model)
        for initializer in wide.graph.initializer:
            if initializer.data_type == TensorProto.BFLOAT16:
                _widen_initializer(initializer, folder, Path(file.name))
        for info in (*wide.graph.input, *wide.graph.output):
            if _is_bfloat16(info):
                info.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in wide.graph.node:
            for attribute in node.attribute:
                if (
                    node.op_type == "Cast"
                    and attribute.name == "to"
                    and attribute.i == TensorProto.BFLOAT16
                ):
                    attribute.i = TensorProto.FLOAT
        yield wide


def _is_bfloat16(info: onnx.ValueInfoProto) -> bool:
    return bool(info.type.tensor_type.elem_type == TensorProto.BFLOAT16)


def _widen_initializer(initializer: TensorProto, folder: Path, target: Path) -> None:
    initializer.data_type = TensorProto.FLOAT
    if not initializer.external_data:
        wide = (np.frombuffer(initializer.raw_data, "<u2").astype("<u4") << 16).tobytes()
        initializer.raw_data = wide
        return
    info = {e.key: e.value for e in initializer.external_data}
    offset, length = int(info.get("offset", 0)), int(info["length"])
    with open(folder / info["location"], "rb") as source, open(target, "ab") as out:
        start = out.tell()
        source.seek(offset)
        for done in range(0, length, _PIECE):
            piece = source.read(min(_PIECE, length - done))
            out.write((np.frombuffer(piece, "<u2").astype("<u4") << 16).tobytes())
    del initializer.external_data[:]
    for key, value in (("location", target.name), ("offset", start), ("length", 2 * length)):
        initializer.external_data.add(key=key, value=str(value))
