"""A graph on the device: bound to places there, or called on numpy arrays that are copied."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import BackendError, CapacityError
from janus_edge.runtime.kv_cache import CacheArray
from janus_edge.runtime.ort_cuda.device_array import DeviceArray
from janus_edge.runtime.ort_cuda.device_cache import cache_on_device
from janus_edge.runtime.ort_cuda.provider import Provider
from janus_edge.runtime.session import Array, Call

#: The id of runs that are not captured.
UNCAPTURED = -1


@dataclass(frozen=True, slots=True)
class Place:
    """An array on the device, seen as ``shape`` by a graph (other axes of the same elements)."""

    array: DeviceArray
    shape: tuple[int, ...]

    @classmethod
    def whole(cls, array: DeviceArray) -> Place:
        """The array as it is."""
        return cls(array, array.shape)


class _Launch:
    """A graph on places; its binding is made again when the session was opened anew."""

    def __init__(
        self,
        session: OrtDeviceSession,
        inputs: Mapping[str, Place],
        outputs: Mapping[str, Place],
        options: Any,
    ) -> None:
        self._session, self._places, self._options = session, (inputs, outputs), options
        self._binding: Any = session.bound(inputs, outputs)

    def unbind(self) -> None:
        """Let go of the session that is open."""
        self._binding = None

    def __call__(self) -> None:
        if self._binding is None:
            self._binding = self._session.bound(*self._places)
        self._session.run(self._binding, self._options)


class OrtDeviceSession:
    """One opened graph, as :class:`janus_edge.runtime.session.Session` has it.

    The arrays of a :class:`KVCache` get their content on the device when they are first bound, and it
    stays there; all other arrays are copied at every call.
    """

    def __init__(
        self, provider: Provider, path: Path, *, captured: bool = False, quantised: bool = False
    ) -> None:
        self._provider, self._path = provider, path
        self._captured, self._quantised = captured, quantised
        self._launches = weakref.WeakSet[_Launch]()
        self.reopen()

    def reopen(self) -> None:
        """Open the graph anew, which frees what was captured; calls that were bound stay good."""
        for launch in self._launches:
            launch.unbind()
        self._session: Any = None  # first: memory need not hold its weights twice
        self._session = self._provider.open(
            self._path, captured=self._captured, quantised=self._quantised
        )

    def launch(
        self,
        inputs: Mapping[str, Place],
        outputs: Mapping[str, Place],
        *,
        graph_id: int = UNCAPTURED,
    ) -> Call:
        """A call that runs the graph on these places; it has finished when it returns.

        With ``graph_id`` ONNX Runtime captures the graph in the first call, which runs it twice, and
        replays it from then on: no launch on other places may have the same id until the session
        is opened anew.
        """
        options = self._provider.run_options(graph_id)
        launch = _Launch(self, dict(inputs), dict(outputs), options)
        self._launches.add(launch)
        return launch

    def bound(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Any:
        """A binding of the session that is open now; it knows addresses only."""
        binding = self._session.io_binding()
        try:
            for places, bind in ((inputs, binding.bind_input), (outputs, binding.bind_output)):
                for name, place in places.items():
                    array, shape = place.array, list(place.shape)
                    if int(np.prod(shape)) != int(np.prod(array.shape)):
                        raise ValueError(f"{name}: {shape} is not all of {list(array.shape)}")
                    kind = array.dtype.type
                    bind(name, self._provider.device, 0, kind, shape, array.address)
        except Exception as failure:  # onnxruntime's exceptions have no common base but this
            raise BackendError(f"{self._path}: cannot bind its buffers ({failure})") from failure
        return binding

    def run(self, binding: Any, options: Any) -> None:
        """Run the graph on what is bound."""
        try:
            self._session.run_with_iobinding(binding, options)
        except Exception as failure:  # as above
            told = self._provider.told(failure, "check the engine with `janus-edge verify`")
            raise BackendError(f"{self._path}: failed while running ({told})") from failure

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Call:
        """As :meth:`Session.bind`; a call has finished when it returns.

        The call raises CapacityError where a row would run out of its cache, which a kernel would
        not notice. Raises BackendError for names, dtypes or shapes that the graph has not.
        """
        places: dict[int, Place] = {}
        arrays = {**inputs, **outputs}
        for name, array in arrays.items():
            if id(array) not in places:
                places[id(array)] = Place.whole(self._place(name, array))
        launch = self.launch(
            {name: places[id(array)] for name, array in inputs.items()},
            {name: places[id(array)] for name, array in outputs.items()},
        )
        given, made = (
            [(places[id(a)].array, a) for a in part.values() if not isinstance(a, CacheArray)]
            for part in (inputs, outputs)
        )

        def call() -> None:
            _check_room(inputs)
            for place, array in given:
                place.upload(array)
            launch()
            for place, array in made:
                array[...] = place.download()

        return call

    def _place(self, name: str, array: Array) -> DeviceArray:
        if isinstance(array, CacheArray):
            return cache_on_device(self._provider, array).on_device(array.shape)
        if not array.flags.c_contiguous:
            raise BackendError(
                f"{self._path}: cannot bind its buffers ({name}: must be contiguous)"
            )
        return DeviceArray(self._provider, array.shape, array.dtype, f"{name} of {self._path.stem}")


def _check_room(inputs: Mapping[str, NDArray[Any]]) -> None:
    """Raise CapacityError unless every row of the language model's cache has room."""
    if "past_lengths" not in inputs or "past_key.0" not in inputs:
        return
    past, new = inputs["past_lengths"], inputs["inputs_embeds"].shape[1]
    capacity, held = inputs["past_key.0"].shape[2], int(past.max(initial=0))
    if int(past.min(initial=0)) < 0 or held + new > capacity:
        raise CapacityError(
            f"{new} new tokens after {held} do not fit the {capacity} positions of the cache; shorten "
            "the prompt or start a new conversation"
        )
