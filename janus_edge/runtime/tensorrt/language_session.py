"""The language model on numpy arrays, with the KV cache on the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import BackendError, CapacityError
from janus_edge.graphs import cache_names
from janus_edge.runtime.kv_cache import CacheArray, KVCache
from janus_edge.runtime.session import Call
from janus_edge.runtime.tensorrt.device_cache import DeviceCache
from janus_edge.runtime.tensorrt.execution import Launch, Place
from janus_edge.runtime.tensorrt.language_plans import LanguagePlans
from janus_edge.runtime.tensorrt.session import Staged, check_array, check_names

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run for the new tokens from ``start`` to ``stop``, with arrays and memory of its own."""

    start: int
    stop: int
    embeds: Array
    hidden: Array
    past: NDArray[np.int64]
    lengths: NDArray[np.int64]
    given: tuple[Staged, ...]
    made: tuple[Staged, ...]
    launch: Launch


class LanguageModelSession:
    """Session of `language_model` with all of its plans, like :class:`Session`.

    The arrays of a :class:`KVCache` move to the GPU when they are first bound, into a cache of the
    smallest sufficient capacity. They stay there, and their calls run on the plan of that capacity. More
    new tokens than a plan takes are run in pieces, and rows are padded to the plan's minimum; neither
    changes results. The present must be the same array as the past; any other array gets a copy of it.
    """

    def __init__(self, plans: LanguagePlans) -> None:
        self._plans, self._plan = plans, plans.first  # all plans have the same inputs and outputs
        self._device = plans.environment.device
        self._layers = plans.environment.folder.manifest.config.language.layers

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Call:
        """As :meth:`Session.bind`; a call has finished when it returns.

        The call raises CapacityError if a row would exceed the plan's cache, since the GPU would not
        detect it. Raises CapacityError for a cache that is larger than any plan's; otherwise raises like
        :meth:`TensorRTSession.bind`.
        """
        plan, device = self._plan, self._device
        device.make_current()
        check_names(plan, inputs, outputs)
        past_lengths, lengths = inputs["past_lengths"], outputs["lengths"]
        for name, array in (("past_lengths", past_lengths), ("lengths", lengths)):
            check_array(plan, name, array)
        longest = int(past_lengths.max(initial=0))
        capacity = self._capacity(inputs["past_key.0"])
        caches, copied = self._caches(inputs, outputs, longest, capacity)
        embeds, hidden = inputs["inputs_embeds"], outputs["hidden_states"]
        for name, array in (("inputs_embeds", embeds), ("hidden_states", hidden)):
            check_array(plan, name, array)
        pieces = self._pieces(embeds, hidden, caches)

        def call() -> None:
            device.make_current()
            _check_room(past_lengths, embeds.shape[1], capacity)
            for past, _, cache in copied:
                cache.upload(past, past.shape[2])
            for piece in pieces:
                self._run(piece, embeds, hidden, past_lengths)
            lengths[:] = pieces[-1].lengths[: len(lengths)]
            for _, present, cache in copied:
                cache.download(present)

        return call

    def resident(self, cache: KVCache) -> dict[str, Place]:
        """Where a cache lies on the GPU, by the names of the graph's inputs and outputs."""
        longest, found = int(cache.lengths.max(initial=0)), {}
        capacity = self._capacity(cache.buffers[0])
        names = zip(*(cache_names(stem, self._layers) for stem in ("past", "present")), strict=True)
        for (past, present), array in zip(names, cache.buffers, strict=True):
            check_array(self._plan, past, array)
            found[past] = found[present] = self._resident(past, array, longest, capacity).place
        return found

    def _capacity(self, array: Array) -> int:
        """C of the plan for a cache: its current plan, or the smallest that is large enough."""
        check_array(self._plan, "past_key.0", array)
        needed, twin = array.shape[2], array.twin if isinstance(array, CacheArray) else None
        # the twin of an array from a smaller cache may be too small
        if isinstance(twin, DeviceCache) and twin.capacity >= needed:
            return twin.capacity
        return self._plans.capacity_for(needed)

    def _caches(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], longest: int, capacity: int
    ) -> tuple[dict[str, Place], list[tuple[Array, Array, DeviceCache]]]:
        """All places of the cache, and those of plain arrays, which are copied at every call."""
        places, copied = {}, []
        names = zip(*(cache_names(stem, self._layers) for stem in ("past", "present")), strict=True)
        for past, present in names:
            before, after = inputs[past], outputs[present]
            for name, array in ((past, before), (present, after)):
                check_array(self._plan, name, array)
            if after is before and isinstance(before, CacheArray):
                cache = self._resident(past, before, longest, capacity)
            else:
                if after.shape != before.shape:
                    raise BackendError(
                        f"{self._plan.path}: cannot bind its buffers ({present}: is "
                        f"{list(after.shape)}, and {past} {list(before.shape)})"
                    )
                cache = self._new(past, before, capacity)
                copied.append((before, after, cache))
            places[past] = places[present] = cache.place
        return places, copied

    def _resident(self, name: str, array: CacheArray, longest: int, capacity: int) -> DeviceCache:
        """The array's content on the GPU; what it holds up to ``longest`` goes there first."""
        twin = array.twin
        if twin is None:
            twin = self._new(name, array, capacity)
            if longest:
                twin.upload(array, longest)
            array.twin = twin
        if not isinstance(twin, DeviceCache) or twin.device is not self._device:
            raise BackendError(
                "this conversation's cache was on the GPU and was freed when the model was closed; "
                "start a new one"
            )
        if twin.capacity != capacity:
            larger = self._new(name, array, capacity)
            larger.adopt(twin, longest)
            array.twin = twin = larger
        return twin

    def _new(self, name: str, array: Array, capacity: int) -> DeviceCache:
        rows, heads, _, size = array.shape
        shape, least = (rows, heads, capacity, size), self._plans.least_rows
        return DeviceCache(self._device, shape, self._plan.formats[name], least)

    def _pieces(self, embeds: Array, hidden: Array, caches: Mapping[str, Place]) -> list[_Piece]:
        rows, new = embeds.shape[:2]
        _, _, capacity, _ = caches["past_key.0"].shape
        held, most_new = max(rows, self._plans.least_rows), self._plans.most_new(capacity)
        pieces = []
        for start in range(0, new, most_new):
            stop = min(start + most_new, new)
            whole = stop - start == new and held == rows
            shape = (held, stop - start, embeds.shape[2])
            own_embeds = embeds if whole else np.zeros(shape, embeds.dtype)
            own_hidden = hidden if whole else np.zeros(shape, hidden.dtype)
            pieces.append(self._piece(start, stop, own_embeds, own_hidden, held, caches))
        return pieces

    def _piece(
        self, start: int, stop: int, embeds: Array, hidden: Array, rows: int,
        caches: Mapping[str, Place],
    ) -> _Piece:  # fmt: skip
        past, lengths = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        arrays = {
            "inputs_embeds": embeds, "past_lengths": past, "hidden_states": hidden,
            "lengths": lengths,
        }  # fmt: skip
        staged = {n: Staged(self._device, self._plan, n, array) for n, array in arrays.items()}
        places = {**{name: one.place for name, one in staged.items()}, **caches}
        signature = self._plan.signature
        launch = self._plans.launch(
            {port.name: places[port.name] for port in signature.inputs},
            {port.name: places[port.name] for port in signature.outputs},
        )
        given, made = (
            tuple(staged[port.name] for port in ports if port.name in staged)
            for ports in (signature.inputs, signature.outputs)
        )
        return _Piece(start, stop, embeds, hidden, past, lengths, given, made, launch)

    def _run(
        self, piece: _Piece, embeds: Array, hidden: Array, past_lengths: NDArray[np.int64]
    ) -> None:
        if piece.embeds is not embeds:
            piece.embeds[: len(embeds)] = embeds[:, piece.start : piece.stop]
        piece.past[: len(past_lengths)] = past_lengths + piece.start  # others begin at 0
        for staged in piece.given:
            staged.upload()
        piece.launch()
        for staged in piece.made:
            staged.download()
        self._device.stream.synchronize()
        for staged in piece.made:
            staged.finish()
        if piece.hidden is not hidden:
            hidden[:, piece.start : piece.stop] = piece.hidden[: len(hidden)]


def _check_room(past_lengths: NDArray[np.int64], new: int, capacity: int) -> None:
    """Raise CapacityError unless every row has room: writing past it corrupts other memory."""
    held = int(past_lengths.max(initial=0))
    if int(past_lengths.min(initial=0)) < 0 or held + new > capacity:
        raise CapacityError(
            f"{new} new tokens after {held} do not fit the {capacity} positions of the engine's "
            "cache; shorten the prompt or start a new conversation"
        )
