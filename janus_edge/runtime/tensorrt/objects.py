"""What running calls of TensorRT's objects, by the names of their classes.

TensorRT's bindings have no type information. With these types mypy lets nothing else be called, and
`tests/unit/runtime/tensorrt/test_api.py` holds every name here against a recorded table of the
bindings of all supported versions: what one of them lacks, `api.features` must ask for.
"""

# ruff: noqa: D102 - what the methods do, TensorRT documents
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Member(Protocol):
    """A member of one of TensorRT's enums."""

    @property
    def name(self) -> str:
        """'HALF', 'INPUT' and so on."""
        ...


class IRuntimeConfig(Protocol):
    """How one context is to run."""

    dynamic_shapes_kernel_specialization_strategy: Member

    def set_execution_context_allocation_strategy(self, strategy: Member) -> None: ...


class IExecutionContext(Protocol):
    """One user of an engine: a profile, shapes, addresses."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...
    def set_device_memory(self, memory: int, size: int) -> None: ...
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def infer_shapes(self) -> Sequence[str]: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...
    def is_stream_capturable(self, stream: int) -> bool: ...


class ICudaEngine(Protocol):
    """A plan that was opened: its weights are on the GPU."""

    num_io_tensors: int
    num_optimization_profiles: int
    device_memory_size_v2: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Member: ...
    def get_tensor_dtype(self, name: str) -> Member: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...
    def get_tensor_location(self, name: str) -> Member: ...
    def get_tensor_profile_shape(
        self, name: str, profile_index: int
    ) -> Sequence[Sequence[int]]: ...
    def get_aliased_input_tensor(self, name: str) -> str | None: ...
    def create_runtime_config(self) -> IRuntimeConfig: ...
    def create_execution_context(
        self, strategy: Member | IRuntimeConfig
    ) -> IExecutionContext | None: ...


class Runtime(Protocol):
    """Opens plans; must outlive them."""

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None: ...
