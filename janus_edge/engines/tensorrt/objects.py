"""What we call of TensorRT's objects, by the names of their classes.

TensorRT's bindings have no type information. With these types mypy lets nothing else be called, and
`tests/contract/test_tensorrt_api.py` holds every name here against a recorded table of the bindings
of all supported versions: what one of them lacks, `api.features` must ask for.
"""

# ruff: noqa: D102 - what the methods do, TensorRT documents
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Sizes = tuple[int, ...]


class Member(Protocol):
    """A member of one of TensorRT's enums."""

    @property
    def name(self) -> str:
        """'HALF', 'MATRIX_MULTIPLY' and so on."""
        ...


class ITensor(Protocol):
    """A tensor of a network; a size of -1 is one that the profiles give."""

    name: str
    shape: Sequence[int]
    dtype: Member


class ILayer(Protocol):
    """A layer of a network; an optional input that is absent is None."""

    name: str
    type: Member
    num_inputs: int
    num_outputs: int

    def get_input(self, index: int) -> ITensor | None: ...
    def get_output(self, index: int) -> ITensor | None: ...
    def set_input(self, index: int, tensor: ITensor) -> None: ...


class IAttention(Protocol):
    """The attention that a layer of type ATTENTION_INPUT begins: queries, keys, values, mask."""

    decomposable: bool

    def get_input(self, index: int) -> ITensor | None: ...
    def set_input(self, index: int, tensor: ITensor) -> bool: ...


class IAttentionInputLayer(ILayer, Protocol):
    """The first layer of an attention."""

    attention: IAttention


class INetworkDefinition(Protocol):
    """A network: what a parsed graph becomes."""

    num_layers: int
    num_inputs: int
    num_outputs: int

    def get_layer(self, index: int) -> ILayer: ...
    def get_input(self, index: int) -> ITensor: ...
    def get_output(self, index: int) -> ITensor: ...


class ParserError(Protocol):
    """Why a graph could not be parsed."""

    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class OnnxParser(Protocol):
    """Fills a network from a graph; it holds the weights, so it must outlive the build."""

    num_errors: int

    def parse(self, model: bytes, path: str) -> bool: ...
    def parse_from_file(self, model: str) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class IOptimizationProfile(Protocol):
    """The ranges of the inputs' shapes that one set of kernels is chosen for."""

    def set_shape(self, input: str, min: Sizes, opt: Sizes, max: Sizes) -> None: ...


class ITimingCache(Protocol):
    """How long kernels took, kept from one build to the next."""

    def serialize(self) -> Any: ...


class IBuilderConfig(Protocol):
    """The options of one build."""

    profiling_verbosity: Member
    progress_monitor: Any
    num_compute_capabilities: int

    def set_flag(self, flag: Member) -> None: ...
    def clear_flag(self, flag: Member) -> None: ...
    def set_memory_pool_limit(self, pool: Member, pool_size: int) -> None: ...
    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...
    def set_compute_capability(self, capability: Member, index: int) -> bool: ...
    def create_timing_cache(self, serialized: bytes) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...


class Builder(Protocol):
    """Makes networks, options and plans."""

    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> Any:
        """The plan in memory (a buffer), or None."""
        ...

    def build_serialized_network_to_stream(
        self, network: INetworkDefinition, config: IBuilderConfig, writer: Any
    ) -> bool:
        """Write the plan piece by piece; True even where the writer wrote nothing (seen: 1.7)."""
        ...
