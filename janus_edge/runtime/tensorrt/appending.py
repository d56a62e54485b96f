"""Cache updates for a `language_model` that returns only the new keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from janus_edge.graphs import cache_names
from janus_edge.runtime.cuda.append_rows import Append, RowAppender
from janus_edge.runtime.tensorrt.execution import Place

if TYPE_CHECKING:
    from janus_edge.runtime.tensorrt.plan import Plan


class NewRows:
    """Memory for the new keys and values of one run; ``places`` [B, kv_heads, S, D] by name."""

    def __init__(self, plan: Plan, rows: int, new: int) -> None:
        self.places: dict[str, Place] = {}
        for port in plan.ports.outputs:
            if not port.name.startswith("new_"):
                continue
            _, heads, _, size = port.shape
            assert isinstance(heads, int)
            assert isinstance(size, int)
            nbytes = rows * heads * new * size * plan.formats[port.name].stored.itemsize
            buffer = plan.environment.device.allocate(nbytes, "new keys and values")
            self.places[port.name] = Place(buffer, (rows, heads, new, size))


class AppendedRows:
    """Kernel launch after a run; calling it queues it. It keeps the memory of the new rows alive."""

    def __init__(self, rows: NewRows, append: Append) -> None:
        self._rows, self._append = rows, append

    def __call__(self) -> None:
        """Queue the launch."""
        self._append()


class Appending:
    """Binds the runs of one plan to memory for new rows, and to the kernel that appends them.

    Runs of equal shapes share that memory: all use one stream, and the kernel follows each run.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, layers = plan, plan.environment.folder.manifest.config.language.layers
        self._names = [*zip(*(cache_names(stem, layers) for stem in ("new", "past")), strict=True)]
        port = plan.ports.outputs[-1]
        assert isinstance(port.shape[-1], int)
        row_bytes = port.shape[-1] * plan.formats[port.name].stored.itemsize
        self._appender = RowAppender(plan.environment.device, row_bytes)
        self._rows: WeakValueDictionary[tuple[int, int], NewRows] = WeakValueDictionary()

    def bound(
        self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]
    ) -> tuple[dict[str, Place], AppendedRows]:
        """Replace the graph table's outputs by the engine's own; also return what must follow each run."""
        rows, new, _ = inputs["inputs_embeds"].shape
        made = self._rows.get((rows, new))
        if made is None:
            made = self._rows[rows, new] = NewRows(self._plan, rows, new)
        caches = [inputs[past] for _, past in self._names]
        for _, past in self._names:
            present = outputs[past.replace("past_", "present_", 1)]
            assert present.buffer is inputs[past].buffer, f"{past} is not updated in place"
        _, heads, capacity, _ = caches[0].shape
        append = self._appender.bound(
            [made.places[name].buffer for name, _ in self._names],
            [place.buffer for place in caches],
            inputs["past_lengths"].buffer,
            rows=rows,
            heads=heads,
            new=new,
            capacity=capacity,
        )
        kept = {port.name: outputs[port.name] for port in self._plan.ports.outputs[:2]}
        return {**kept, **made.places}, AppendedRows(made, append)
