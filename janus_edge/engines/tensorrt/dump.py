"""A network as text: what `--dump-network` shows, and the precisions of its layers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from janus_edge.engines.tensorrt.layers import layers_of
from janus_edge.engines.tensorrt.objects import ILayer, INetworkDefinition, ITensor
from janus_edge.errors import InputError


def dump_network(network: INetworkDefinition) -> str:
    """One line per layer: number, type, name, precision, inputs and outputs with their shapes.

    A layer's precision is its first output's type; ``?`` is a size that profiles give, and ``-`` an
    optional input that is absent.
    """
    lines = [f"input  {_tensor(network.get_input(i))}" for i in range(network.num_inputs)]
    for index, layer in enumerate(layers_of(network)):
        inputs = ", ".join(_tensor(layer.get_input(i)) for i in range(layer.num_inputs))
        outputs = ", ".join(_tensor(layer.get_output(i)) for i in range(layer.num_outputs))
        lines.append(
            f"{index:5d}  {layer.type.name} {layer.name} [{_precision(layer)}] "
            f"({inputs}) -> {outputs}"
        )
    lines += [f"output {_tensor(network.get_output(i))}" for i in range(network.num_outputs)]
    return "\n".join(lines) + "\n"


def write_dump(network: INetworkDefinition, path: Path) -> None:
    """Write :func:`dump_network` to ``path``; raises InputError where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump_network(network), "utf-8")
    except OSError as failure:
        raise InputError(
            f"{path}: cannot be written ({failure.strerror}); give --dump-network another folder"
        ) from failure


def precisions(network: INetworkDefinition) -> dict[str, int]:
    """How many layers there are of each type and precision ('MATRIX_MULTIPLY HALF').

    In a strongly typed network no builder changes them. Which kernels were chosen only an engine on
    its GPU can tell.
    """
    counted = Counter(f"{layer.type.name} {_precision(layer)}" for layer in layers_of(network))
    return dict(sorted(counted.items()))


def _precision(layer: ILayer) -> str:
    output = layer.get_output(0) if layer.num_outputs else None
    return "-" if output is None else output.dtype.name


def _tensor(tensor: ITensor | None) -> str:
    if tensor is None:
        return "-"
    sizes = ",".join("?" if size < 0 else str(size) for size in tensor.shape)
    return f"{tensor.name} {tensor.dtype.name}[{sizes}]"
