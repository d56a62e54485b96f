"""A graph called on the caller's numpy arrays: copied to the GPU, run, and copied back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import BackendError
from janus_edge.graphs import Port
from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.session import Call
from janus_edge.runtime.tensorrt.batches import Batch, batches
from janus_edge.runtime.tensorrt.execution import Place
from janus_edge.runtime.tensorrt.formats import Format
from janus_edge.runtime.tensorrt.plan import Plan

Array = NDArray[Any]


class Staged:
    """An array of the caller and its place on the GPU; raises BackendError for a wrong array."""

    def __init__(self, device: Device, plan: Plan, name: str, array: Array) -> None:
        self._stream, self._format = device.stream, plan.formats[name]
        check_array(plan, name, array)
        self._array = array
        # without conversion it is the array itself
        self._stored = array if self._same else np.empty(array.shape, self._format.stored)
        what = f"{name} of {plan.graph.value}"
        self.place = Place(device.allocate(self._stored.nbytes, what), array.shape)

    @property
    def _same(self) -> bool:
        return self._format.stored == self._format.host

    def upload(self) -> None:
        """Queue the copy of what the array holds now."""
        if not self._same:
            self._stored[...] = self._format.encode(self._array)
        self._stream.upload(self.place.address, self._stored)

    def download(self) -> None:
        """Queue the copy back; :meth:`finish` once the stream was waited for."""
        self._stream.download(self._stored, self.place.address)

    def finish(self) -> None:
        """Give the array what was copied back."""
        if not self._same:
            self._array[...] = self._format.decode(self._stored)


class TensorRTSession:
    """A graph whose every input and output is copied, as :class:`Session` has it.

    More rows than its profile takes are run in batches, which gives the same.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Call:
        """As :meth:`Session.bind`; a call has finished when it returns.

        Raises BackendError for names, dtypes or shapes that the graph has not, and EngineError for
        shapes that the engine was not built for.
        """
        plan = self._plan
        plan.environment.device.make_current()
        check_names(plan, inputs, outputs)
        for name, array in (*inputs.items(), *outputs.items()):
            check_array(plan, name, array)
        parts = [*batches(plan, inputs, outputs)]
        if len(parts) < 2:
            return self._bound(inputs, outputs)
        return _joined([self._batch(part, inputs, outputs) for part in parts])

    def _batch(
        self, batch: Batch, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Call:
        """A call for some of the rows, on arrays of its own."""
        signature = self._plan.signature
        given = {port.name: batch.take(port, inputs[port.name]) for port in signature.inputs}
        made = {port.name: batch.take(port, outputs[port.name]) for port in signature.outputs}
        run = self._bound(given, made)

        def call() -> None:
            for port in signature.inputs:
                if given[port.name] is not inputs[port.name]:
                    given[port.name][...] = batch.take(port, inputs[port.name])
            run()
            for port in signature.outputs:
                batch.put(port, outputs[port.name], made[port.name])

        return call

    def _bound(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Call:
        plan, device = self._plan, self._plan.environment.device
        given = {name: Staged(device, plan, name, array) for name, array in inputs.items()}
        made = {name: Staged(device, plan, name, array) for name, array in outputs.items()}
        launch = plan.launch(
            {name: staged.place for name, staged in given.items()},
            {name: staged.place for name, staged in made.items()},
        )

        def call() -> None:
            device.make_current()
            for staged in given.values():
                staged.upload()
            launch()
            for staged in made.values():
                staged.download()
            device.stream.synchronize()
            for staged in made.values():
                staged.finish()

        return call


def _joined(calls: Sequence[Call]) -> Call:
    """One call after the other."""

    def call() -> None:
        for one in calls:
            one()

    return call


def check_names(plan: Plan, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Raise BackendError unless the names are the graph's."""
    for ports, given in ((plan.signature.inputs, inputs), (plan.signature.outputs, outputs)):
        wrong = {port.name for port in ports} ^ {*given}
        if wrong:
            raise BackendError(
                f"{plan.path}: cannot bind its buffers ({', '.join(sorted(wrong))}: one too many, or "
                "one too few)"
            )


def check_array(plan: Plan, name: str, array: Array) -> None:
    """Raise BackendError unless the array can be the buffer of that input or output."""
    ports: dict[str, Port] = {p.name: p for p in (*plan.signature.inputs, *plan.signature.outputs)}
    wanted: Format = plan.formats[name]
    wrong = ""
    if array.dtype != wanted.host:
        wrong = f"is {array.dtype} and must be {wanted.host}"
    elif len(array.shape) != len(ports[name].shape):
        wrong = f"has {array.ndim} dimensions and must be {ports[name]}"
    elif not array.flags.c_contiguous:
        wrong = "must be contiguous"
    if wrong:
        raise BackendError(f"{plan.path}: cannot bind its buffers ({name}: {wrong})")
