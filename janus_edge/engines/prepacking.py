"""Weights laid out on disk as the kernels of this machine's processor read them.

ONNX Runtime rearranges weights when it opens a graph ("prepacking"): time at every start, and a copy
in memory beside the file's. Written once, the rearranged weights are mapped from the file like others:
nothing is computed, only pages that a kernel reads take memory, and processes share them. ONNX Runtime
knows them by nothing but a name, so they must be for the very kernels that read them. The original
weights stay in the file, for kernels that want them, and are not read otherwise.

Two traps, seen with 1.31.1. A kernel may begin its layout at the next address that is a multiple of 64,
and the file's blobs begin anywhere: small ones were read wrongly, which gave values that are no numbers.
So the file is written anew with every blob at such a place. And nothing would tell of another mistake
of this kind, so every graph is run both ways and must give the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray

from janus_edge.cpu_session import cpu_session
from janus_edge.engines.parity_feeds import Feed
from janus_edge.errors import EngineError
from janus_edge.manifest import GraphEntry

#: Where blobs begin in the file, and so in memory: a page's beginning, at which files are mapped.
_ALIGNMENT = 4096

#: What ONNX Runtime writes of a rearranged weight: a kernel's name for it, and its blobs.
_KEY = re.compile(r"prepacked_\d+")
_BLOB = re.compile(r"(\d+);(\d+);(\d+)")  # offset, length, a number of the kernel's own


def prepack(
    entry: GraphEntry, folder: Path, feeds: Sequence[Feed], *, quantised: bool
) -> GraphEntry:
    """Put the graph of ``entry`` in ``folder`` as ONNX Runtime would rearrange it in its place.

    ``feeds`` are the calls on which it must give the same; ``quantised`` if it may hold Q/DQ nodes.
    A graph without weights stays. Raises EngineError where ONNX Runtime cannot open it, or it gives
    something else.
    """
    if not entry.weights:
        return entry
    import onnxruntime  # `janus-edge build` for TensorRT does without it

    graph = folder / entry.file
    with TemporaryDirectory(dir=folder) as aside:
        made = Path(aside, graph.name)
        weights = made.with_suffix(".weights")
        try:
            wanted = _outputs(
                cpu_session(onnxruntime, graph, quantised=quantised, prepacked=made), feeds
            )
            if weights.exists():  # constants may all be small
                _align(made, weights)
            found = _outputs(cpu_session(onnxruntime, made, quantised=quantised), feeds)
        except Exception as failure:  # onnxruntime's exceptions have no common base but this
            raise EngineError(
                f"{graph.stem}: ONNX Runtime cannot lay out its weights ({failure}); "
                "build without --prepack"
            ) from failure
        for name, one, other in zip(wanted, wanted.values(), found.values(), strict=True):
            if not np.array_equal(one, other, equal_nan=True):
                raise EngineError(
                    f"{graph.stem}: {name} is not the same once its weights are laid out for this "
                    "processor; build without --prepack, and please report it"
                )
        for name in (entry.file, *entry.weights):
            (folder / name).unlink()
        files = [made, weights] if weights.exists() else [made]
        for file in files:
            file.rename(graph.with_name(file.name))
    names = [graph.with_name(file.name).relative_to(folder).as_posix() for file in files]
    return GraphEntry(names[0], tuple(names[1:]), entry.inputs, entry.outputs)


def _outputs(session: Any, feeds: Sequence[Feed]) -> dict[str, NDArray[Any]]:
    """What the graph gives for each call; of the cache, only the places behind it may be anything."""
    names = [out.name for out in session.get_outputs() if not out.name.startswith("present")]
    return {
        f"{name} of call {number}": value
        for number, feed in enumerate(feeds)
        for name, value in zip(names, session.run(names, feed), strict=True)
    }


def _align(graph: Path, weights: Path) -> None:
    """Write the weights anew, every blob at a multiple of the alignment, and say so in the graph."""
    model = onnx.load(str(graph), load_external_data=False)
    aside = weights.with_suffix(".aligned")
    with weights.open("rb") as source, aside.open("wb") as target:
        for tensor in model.graph.initializer:
            entries = {entry.key: entry for entry in tensor.external_data}
            if not entries:
                continue
            moved = _copy(
                source, target, int(entries["offset"].value), int(entries["length"].value)
            )
            entries["offset"].value = str(moved)
            for key, entry in entries.items():
                if _KEY.fullmatch(key):
                    name, *blobs = entry.value.split("|")
                    entry.value = "|".join([name, *(_move(source, target, b) for b in blobs)])
    onnx.save(model, str(graph))
    aside.replace(weights)


def _move(source: BinaryIO, target: BinaryIO, blob: str) -> str:
    """A blob of a rearranged weight at its new place."""
    parts = _BLOB.fullmatch(blob)
    if not parts:
        raise ValueError(f"an entry of a form that is not known: {blob}")
    offset, length, own = (int(part) for part in parts.groups())
    return f"{_copy(source, target, offset, length)};{length};{own}"


def _copy(source: BinaryIO, target: BinaryIO, offset: int, length: int) -> int:
    """Append ``length`` bytes to ``target`` behind room up to the alignment; returns their place."""
    begin = -(-target.tell() // _ALIGNMENT) * _ALIGNMENT
    target.write(bytes(begin - target.tell()))
    source.seek(offset)
    left = length
    while left:
        piece = source.read(min(left, 16 << 20))
        if not piece:
            raise ValueError(f"its weights end before byte {offset + length:,}")
        target.write(piece)
        left -= len(piece)
    return begin
