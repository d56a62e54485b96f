"""The calibration file: what the inputs of a bundle's nodes were like, and how that was recorded.

An ``.npz`` archive of plain arrays (no pickle). ``header`` is one JSON text, whose keys are those
of ``CalibrationHeader``. A "node" is the input tensor of one or more nodes, by its name in the graph.
The arrays of the i-th, which has C channels:

    i.counts           [2048] int64    i.channel_maximum  [C] float32
    i.channel_sum      [C] float64     i.channel_squares  [C] float64
    i.row_keys         [r] float64     i.sample_rows      [r, C] float32
    i.gram             [C, C] float32, where the header says so

``statistics.py`` tells what they mean. The one trap: the file belongs to the bundle that it was
recorded with, which ``check_bundle`` guards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.archive import read_archive
from janus_edge.atomic_file import written_aside
from janus_edge.calib.histogram import BINS, Histogram
from janus_edge.calib.statistics import InputStatistics
from janus_edge.errors import InputError
from janus_edge.schema import from_dict, to_dict

SCHEMA_VERSION = 1

#: The arrays of a node: dtype, and shape in the symbols of the module's table.
_ARRAYS = {
    "counts": ("int64", ("B",)),
    "channel_maximum": ("float32", ("C",)),
    "channel_sum": ("float64", ("C",)),
    "channel_squares": ("float64", ("C",)),
    "row_keys": ("float64", ("r",)),
    "sample_rows": ("float32", ("r", "C")),
    "gram": ("float32", ("C", "C")),
}

_Error = Callable[[str], InputError]


@dataclass(frozen=True, slots=True)
class NodeHeader:
    """What a node's arrays do not say."""

    graph: str
    node: str
    channels: int
    axis: int
    row_limit: int
    seeds: tuple[int, ...]
    count: int
    exponent: int
    maximum: float
    gram: bool


@dataclass(frozen=True, slots=True)
class CalibrationHeader:
    """Schema version, what was calibrated with what, and the nodes.

    ``bundle_digest`` is the bundle's; ``tools`` are versions by name; ``options`` are the
    command's, ``counts`` how many items, prompts, pictures, questions and steps were run.
    """

    schema_version: int
    bundle_digest: str
    tools: dict[str, str]
    options: dict[str, str | int | float | bool]
    counts: dict[str, int]
    nodes: tuple[NodeHeader, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A whole recording: ``graphs[graph][node]`` has the statistics of a node's input.

    The other fields are as in the header.
    """

    bundle_digest: str
    graphs: dict[str, dict[str, InputStatistics]]
    tools: dict[str, str] = field(default_factory=dict)
    options: dict[str, str | int | float | bool] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def check_bundle(self, digest: str) -> None:
        """Raise InputError unless ``digest`` is that of the bundle that was calibrated."""
        if digest != self.bundle_digest:
            raise InputError(
                f"the calibration is of another bundle (digest {self.bundle_digest[:12]}, not "
                f"{digest[:12]}); calibrate this bundle, or quantise the one that was calibrated"
            )

    @property
    def complete(self) -> bool:
        """Whether all of the calibration data was run: ``done`` of ``items`` in the counts."""
        return self.counts.get("done") == self.counts.get("items")

    def statistics(self, graph: str, node: str) -> InputStatistics:
        """The input of ``node``; raises InputError if it was not recorded."""
        try:
            return self.graphs[graph][node]
        except KeyError:
            raise InputError(
                f"the calibration has no input of '{node}' in graph '{graph}'; calibrate again"
            ) from None

    def save(self, path: str | Path) -> None:
        """Write the archive aside and rename it; raises InputError if that cannot be done."""
        arrays: dict[str, NDArray[Any]] = {}
        nodes: list[NodeHeader] = []
        for graph, statistics in self.graphs.items():
            for node, recorded in statistics.items():
                for name, array in _arrays_of(recorded).items():
                    arrays[f"{len(nodes)}.{name}"] = array
                nodes.append(_header_of(graph, node, recorded))
        header = CalibrationHeader(
            SCHEMA_VERSION, self.bundle_digest, self.tools, self.options, self.counts, tuple(nodes)
        )
        try:
            text = json.dumps(to_dict(header), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as wrong:
            raise InputError(f"{path}: the calibration's options are no JSON ({wrong})") from wrong
        with written_aside(path) as aside, open(aside, "wb") as out:
            np.savez(out, allow_pickle=False, header=np.array(text), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read an archive; raises InputError for anything that is not a whole calibration."""
        arrays, described = read_archive(path, "header", "calibration file")

        def error(message: str) -> InputError:
            return InputError(f"{path}: {message}; calibrate again")

        if described is None:
            raise error("has no array 'header'")
        version = described.get("schema_version") if isinstance(described, dict) else None
        if isinstance(version, int) and version != SCHEMA_VERSION:  # its keys may differ, too
            raise error(f"schema version {version}, this janus-edge reads {SCHEMA_VERSION}")
        header = from_dict(CalibrationHeader, described, error=error)
        graphs: dict[str, dict[str, InputStatistics]] = {}
        for i, node in enumerate(header.nodes):
            own = {name: arrays.pop(f"{i}.{name}", None) for name in _ARRAYS}
            nodes = graphs.setdefault(node.graph, {})
            if node.node in nodes:
                raise error(f"has node '{node.node}' of graph '{node.graph}' twice")
            nodes[node.node] = _restored(node, own, error)
        if arrays:
            raise error(f"unknown array '{next(iter(arrays))}'")
        return cls(header.bundle_digest, graphs, header.tools, header.options, header.counts)


def _arrays_of(recorded: InputStatistics) -> dict[str, NDArray[Any]]:
    arrays = {"counts": recorded.histogram.counts}
    for name in _ARRAYS:  # in the table's order, so that equal recordings are equal files
        array = None if name in arrays else getattr(recorded, name)
        if array is not None:
            arrays[name] = array
    return arrays


def _header_of(graph: str, node: str, recorded: InputStatistics) -> NodeHeader:
    histogram = recorded.histogram
    return NodeHeader(
        graph, node, recorded.channels, recorded.axis, recorded.row_limit, recorded.seeds,
        recorded.count, histogram.exponent, histogram.maximum, recorded.gram is not None,
    )  # fmt: skip


def _restored(
    node: NodeHeader, arrays: dict[str, NDArray[Any] | None], error: _Error
) -> InputStatistics:
    """The statistics of a header and its arrays, each of which is checked."""
    where = f"node '{node.node}' of graph '{node.graph}'"
    if not node.seeds or min(node.seeds) < 0 or node.count < 0:
        raise error(f"{where}: needs a seed and a count, found {node.seeds} and {node.count}")
    sizes = {"B": BINS, "C": node.channels, "r": min(node.row_limit, node.count)}
    checked: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if name != "gram" or node.gram:
            checked[name] = _checked(name, array, sizes, where, error)
        elif array is not None:
            raise error(f"{where}: has '{name}', which its header denies")
    try:
        histogram = Histogram(checked.pop("counts"), node.exponent, node.maximum)
        recorded = InputStatistics(
            node.channels, axis=node.axis, row_limit=node.row_limit, seed=node.seeds[0]
        )
    except (ValueError, InputError) as wrong:
        raise error(f"{where}: {wrong}") from wrong
    if histogram.count != node.count * node.channels:
        raise error(f"{where}: {histogram.count} values are not {node.count} rows")
    if (np.diff(checked["row_keys"]) < 0).any():
        raise error(f"{where}: 'row_keys' are not in order")
    recorded.restore(node.seeds, node.count, checked.pop("gram", None))
    recorded.histogram = histogram
    for name, array in checked.items():
        setattr(recorded, name, array)
    return recorded


def _checked(
    name: str, array: NDArray[Any] | None, sizes: dict[str, int], where: str, error: _Error
) -> NDArray[Any]:
    """The array, of the dtype and shape that the table gives, and finite."""
    dtype, symbols = _ARRAYS[name]
    shape = tuple(sizes[symbol] for symbol in symbols)
    if array is None:
        raise error(f"{where}: has no array '{name}'")
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise error(
            f"{where}: '{name}' is {array.dtype} {list(array.shape)}, not {dtype} {list(shape)}"
        )
    if not np.isfinite(array).all():
        raise error(f"{where}: '{name}' has values that are not finite")
    signed = name in ("sample_rows", "gram")
    if not signed and array.size and array.min() < 0:
        raise error(f"{where}: '{name}' has negative values")
    return array
