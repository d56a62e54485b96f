"""Runs of a `language_model` that returns the new keys and values alone, with the cache's update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from janus_edge.graphs import cache_names
from janus_edge.runtime.cuda.append_rows import Append, RowAppender
from janus_edge.runtime.tensorrt.execution import Execution, Launch, Place

if TYPE_CHECKING:
    from janus_edge.runtime.tensorrt.plan import Plan


class NewRows:
    """Memory for the new keys and values of one run: ``places`` [B, kv_heads, S, D] by name."""

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


class AppendingLaunch(Launch):
    """A run of the engine, then the kernel that appends what it returned to the cache."""

    def __init__(
        self,
        execution: Execution,
        inputs: dict[str, Place],
        outputs: dict[str, Place],
        rows: NewRows,
        append: Append,
    ) -> None:
        super().__init__(execution, inputs, outputs)
        self._rows, self._append = rows, append  # the rows are shared while a launch holds them

    def __call__(self) -> None:
        """Queue both."""
        super().__call__()
        self._append()


class Appending:
    """Makes such runs for one plan.

    Runs of equal shapes share the memory of their new rows: all runs are on one stream, and each
    is followed by the kernel that empties it.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, layers = plan, plan.environment.folder.manifest.config.language.layers
        stems = ("new", "past", "present")
        self._names = [*zip(*(cache_names(stem, layers) for stem in stems), strict=True)]
        port = plan.ports.outputs[-1]
        assert isinstance(port.shape[-1], int)
        row_bytes = port.shape[-1] * plan.formats[port.name].stored.itemsize
        self._appender = RowAppender(plan.environment.device, row_bytes)
        self._rows: WeakValueDictionary[tuple[int, int], NewRows] = WeakValueDictionary()

    def launch(
        self, execution: Execution, inputs: Mapping[str, Place], outputs: Mapping[str, Place]
    ) -> AppendingLaunch:
        """As :meth:`Plan.launch`."""
        rows, new, _ = inputs["inputs_embeds"].shape
        made = self._rows.get((rows, new))
        if made is None:
            made = self._rows[rows, new] = NewRows(self._plan, rows, new)
        caches = [inputs[past] for _, past, _ in self._names]
        present = [outputs[name] for *_, name in self._names]
        assert [place.buffer for place in present] == [place.buffer for place in caches]
        _, heads, capacity, _ = caches[0].shape
        append = self._appender.bound(
            [made.places[name].buffer for name, *_ in self._names],
            [place.buffer for place in caches],
            inputs["past_lengths"].buffer,
            rows=rows,
            heads=heads,
            new=new,
            capacity=capacity,
        )
        kept = {port.name: outputs[port.name] for port in self._plan.ports.outputs[:2]}
        return AppendingLaunch(execution, dict(inputs), {**kept, **made.places}, made, append)
