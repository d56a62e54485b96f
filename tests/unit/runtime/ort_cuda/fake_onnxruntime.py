"""ONNX Runtime with a CUDA provider that is none: memory 'on the GPU' is the host's.

It holds callers to what a GPU asks for: an address that a CUDA graph was captured with is the
address of every later run of that graph, and the CPU is no provider.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import onnxruntime as real

CUDA = "CUDAExecutionProvider"


class FakeBinding:
    """Bindings by address; they must lie on the GPU."""

    def __init__(self, session: real.InferenceSession) -> None:
        self.real, self.bound = session.io_binding(), dict[str, tuple[Any, ...]]()
        self.session = session

    def bind_input(self, name: str, device: str, number: int, *rest: Any) -> None:
        self._note(name, device, number, rest)
        self.real.bind_input(name, "cpu", 0, *rest)

    def bind_output(self, name: str, device: str, number: int, *rest: Any) -> None:
        self._note(name, device, number, rest)
        self.real.bind_output(name, "cpu", 0, *rest)

    def _note(self, name: str, device: str, number: int, rest: tuple[Any, ...]) -> None:
        assert (device, number) == ("cuda", 0)
        assert name not in self.bound
        self.bound[name] = rest


class FakeSession:
    """Runs on the CPU; ``captured`` is what captured graphs are bound to, by their id.

    As in 1.31.1, nothing but its end frees them.
    """

    def __init__(
        self, owner: FakeOnnxRuntime, path: str, options: Any, providers: Any, **rest: Any
    ) -> None:
        assert rest.pop("enable_fallback") == 0
        ((name, own),) = providers
        assert name == CUDA
        self.path, self.own = path, own
        self.captured = dict[str, dict[str, tuple[Any, ...]]]()
        self.strict = _entry(options, "session.disable_cpu_ep_fallback") == "1"
        self.weights_apart = _entry(options, "session.use_device_allocator_for_initializers") == "1"
        self.disabled = list(rest["disabled_optimizers"])
        owner.opened.append(self)
        failure = owner.failure(self) if owner.failure else None
        if failure:
            raise failure
        self._owner = owner
        self._real = real.InferenceSession(
            path, real.SessionOptions(), providers=["CPUExecutionProvider"], **rest
        )

    def io_binding(self) -> FakeBinding:
        return FakeBinding(self._real)

    def run_with_iobinding(self, binding: FakeBinding, options: Any) -> None:
        assert binding.session is self._real
        number = options.get_run_config_entry("gpu_graph_id") if self._captures else "-1"
        if number != "-1":
            assert self.captured.setdefault(number, binding.bound) == binding.bound
        if self._owner.run_failure:
            raise self._owner.run_failure
        self._real.run_with_iobinding(binding.real)

    @property
    def _captures(self) -> bool:
        return self.own.get("enable_cuda_graph") == "1"

    def get_providers(self) -> list[str]:
        return self._owner.loaded

    def get_provider_graph_assignment_info(self) -> Sequence[Any]:
        node = SimpleNamespace(name="a/Range", op_type="Range")
        return [
            SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: [node]),
            SimpleNamespace(ep_name=CUDA, get_nodes=lambda: [node, node]),
        ]


class FakeOnnxRuntime:
    """The module; ``failure`` is raised by sessions that open, ``run_failure`` by runs."""

    def __init__(self) -> None:
        self.opened = list[FakeSession]()
        self.failure: Callable[[FakeSession], Exception | None] | None = None
        self.run_failure: Exception | None = None
        self.loaded = [CUDA, "CPUExecutionProvider"]
        self.providers = [CUDA, "CPUExecutionProvider"]
        self.memory_failure: Exception | None = None
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._value)

    def __getattr__(self, name: str) -> Any:
        return getattr(real, name)

    def InferenceSession(self, path: str, options: Any, providers: Any, **rest: Any) -> FakeSession:  # noqa: N802
        return FakeSession(self, path, options, providers, **rest)

    def preload_dlls(self) -> None:
        sys.stdout.write("Failed to load libcublas.so.13\n")

    def get_available_providers(self) -> list[str]:
        return self.providers

    def get_ep_devices(self) -> list[Any]:
        return []

    def _value(self, shape: Any, dtype: Any, device: str, number: int) -> Any:
        assert (device, number) == ("cuda", 0)
        if self.memory_failure:
            raise self.memory_failure
        return real.OrtValue.ortvalue_from_shape_and_type(shape, dtype, "cpu", 0)


def _entry(options: Any, name: str) -> str:
    try:
        return str(options.get_session_config_entry(name))
    except Exception:  # noqa: BLE001 - onnxruntime's, for an entry that is not there
        return ""
