"""Building a network into a file."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from janus_edge.engines.tensorrt.api import TensorRT
from janus_edge.engines.tensorrt.objects import Builder, IBuilderConfig, INetworkDefinition


def partial_path(out: Path) -> Path:
    """The temporary file beside ``out`` that a plan is built into before it is renamed."""
    return out.with_name(f"{out.name}.partial")


def write_plan(
    tensorrt: TensorRT,
    builder: Builder,
    network: INetworkDefinition,
    options: IBuilderConfig,
    file: BinaryIO,
) -> int:
    """Build and write the plan to ``file``; its bytes, 0 where the build failed.

    Streamed where the version can: memory then holds pieces (64 MiB) and not the whole plan besides
    the network's weights. Raises OSError for a file that cannot be written.
    """
    if not tensorrt.features.streamed_plan:
        plan = builder.build_serialized_network(network, options)
        return 0 if plan is None else file.write(memoryview(plan))
    trt, failures, written = tensorrt.module, list[OSError](), [0]

    class Writer(trt.IStreamWriter):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IStreamWriter.__init__(self)

        def write(self, data: bytes) -> int:
            try:
                written[0] += file.write(data)
            except OSError as failure:  # TensorRT would print it and go on
                failures.append(failure)
                return 0
            return len(data)

    writer = Writer()
    done = builder.build_serialized_network_to_stream(network, options, writer)
    if failures:
        raise failures[0]
    return written[0] if done else 0
