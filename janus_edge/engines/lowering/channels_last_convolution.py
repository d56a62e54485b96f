"""A convolution of 8-bit integers as a product: windows of a picture with channels last, times weights.

Row p of the windows holds what the kernel sees at output position p, tap by tap; they are gathered by
index, where one index stands for the border. Products and sums are exact integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import check, known, producer
from janus_edge.engines.lowering.picture_strips import Picture, shape, stacked, strip_rows
from janus_edge.engines.lowering.primitives import Writer


@dataclass(frozen=True, slots=True)
class Convolution:
    """A Conv of ``quantised`` (uint8, with a scale and a zero point) and ``weights`` (int8, [O, C, h, w])."""

    quantised: ir.Value
    scale: ir.Value
    zero_point: ir.Value
    weights: ir.Value
    weight_scale: ir.Value
    bias: ir.Value | None
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right


def convolution(node: ir.Node) -> Convolution:
    """What a Conv of two DequantizeLinear computes; raises Unlike where it is of another kind."""
    of_input, of_weights = (producer(i, "DequantizeLinear") for i in node.inputs[:2])
    check(
        len(of_input.inputs) == 3 and len(of_weights.inputs) == 3, "a zero point is not written out"
    )
    quantised, scale, zero_point = map(known, of_input.inputs)
    scales, zeros = matching.constant(scale), matching.constant(zero_point)
    check(scales is not None and scales.ndim == 0, "its input has no constant scale of its own")
    check(zeros is not None and zeros.dtype == np.uint8, "its input is not uint8")
    check(
        all(isinstance(size, int) for size in (quantised.shape or [None])[1:])
        and matching.rank(quantised) == 4,
        f"{matching.named(quantised)} is not [N, C, H, W] of a fixed size",
    )
    weights, weight_scale, weight_zero = map(known, of_weights.inputs)
    check(
        matching.stored(weights) is not None and weights.dtype == ir.DataType.INT8,
        f"{matching.named(weights)} is not a constant of int8",
    )
    matching.only_attributes(of_weights, {"axis": [0], "block_size": [0]})
    channel_scales, zeros = matching.constant(weight_scale), matching.constant(weight_zero)
    outputs, _, *kernel = (matching.size(weights, axis) for axis in range(4))
    check(
        channel_scales is not None and channel_scales.shape == (outputs,),
        f"{matching.named(weight_scale)} is not a constant with a scale per output channel",
    )
    check(zeros is not None and not zeros.any(), "its weights have zero points other than 0")
    assert scales is not None
    assert channel_scales is not None
    check(scales.dtype == channel_scales.dtype == np.float32, "its scales are not float32")
    attributes = node.attributes
    check(attributes.get_int("group", 1) == 1, "it is of several groups")
    check(set(attributes.get_ints("dilations", (1, 1))) == {1}, "it is dilated")
    check(attributes.get_string("auto_pad", "NOTSET") == "NOTSET", "its pads are not written out")
    (rows, columns), (down, right) = kernel, attributes.get_ints("strides", (1, 1))
    top, left, bottom, end = attributes.get_ints("pads", (0, 0, 0, 0))
    return Convolution(
        quantised, scale, zero_point, weights, weight_scale,
        node.inputs[2] if len(node.inputs) == 3 else None,
        (rows, columns), (down, right), (top, left, bottom, end),
    )  # fmt: skip


def convolve(
    write: Writer, place: Convolution, picture: Picture, weight_type: ir.DataType
) -> Picture:
    """The convolution of a quantised picture, with weights in int8 or uint8."""
    made = _output(place, picture)
    plain = picture.repeat == 1 and place.kernel == place.strides == (1, 1) and not any(place.pads)
    windows = picture.strips if plain else _windows(write, place, picture, made)
    zero = 0 if weight_type == ir.DataType.INT8 else 128
    weights = _columns(write, place, weight_type, zero)
    zeros = write.constant(
        f"{made.channels}_times_{zero}", np.full(made.channels, zero, weight_type.numpy())
    )
    rest = [place.scale, place.weight_scale, place.zero_point, zeros]
    return made.of(
        write.op(
            "MatMulIntegerToFloat", [rows, weights, *rest, place.bias], ir.DataType.FLOAT,
            shape(rows, made.rows * made.width, made.channels), matching.MICROSOFT,
        )
        for rows in windows
    )  # fmt: skip


def _output(place: Convolution, picture: Picture) -> Picture:
    """The size of what the convolution makes, and in how many strips; these are not there yet."""
    height, width = (
        (size * picture.repeat + sum(place.pads[axis::2]) - place.kernel[axis])
        // place.strides[axis]
        + 1
        for axis, size in enumerate((picture.height, picture.width))
    )
    strips = height // strip_rows(height, width)
    return Picture((place.quantised,) * strips, matching.size(place.weights, 0), height, width)


def _windows(
    write: Writer, place: Convolution, picture: Picture, made: Picture
) -> tuple[ir.Value, ...]:
    """For each strip of the output, what the kernel sees at its positions: [N, positions, taps * C]."""
    border = write.op(
        "Expand", [_border(write, place, picture), _one_row(write, picture)], ir.DataType.UINT8
    )
    source = stacked(write, (*picture.strips, border))
    taps = place.kernel[0] * place.kernel[1]
    size = write.integers(0, made.rows * made.width, taps * picture.channels)
    found = []
    for strip in range(len(made.strips)):
        places = _indices(write, place, picture, made, strip)
        windows = write.op("Gather", [source, places], ir.DataType.UINT8, axis=1)
        flat = shape(picture.strips[0], made.rows * made.width, taps * picture.channels)
        found.append(write.op("Reshape", [windows, size], ir.DataType.UINT8, flat))
    return tuple(found)


def _border(write: Writer, place: Convolution, picture: Picture) -> ir.Value:
    """A position that holds zeros: [1, 1, C] of the zero point."""
    zero = matching.constant(place.zero_point)
    assert zero is not None
    values = np.full((1, 1, picture.channels), zero, np.uint8)
    return write.constant(f"border_{zero}_{picture.channels}", values)


def _one_row(write: Writer, picture: Picture) -> ir.Value:
    """The shape [N, 1, C]."""
    rows = write.size(picture.strips[0], 0)
    return write.op(
        "Concat", [rows, write.integers(1, picture.channels)], ir.DataType.INT64, ir.Shape([3]), axis=0
    )  # fmt: skip


def _indices(
    write: Writer, place: Convolution, picture: Picture, made: Picture, strip: int
) -> ir.Value:
    """Where the windows of a strip lie in the picture: int32 [positions, taps].

    What lies beside the picture is the border, which is the entry behind its last one.
    """
    (rows, columns), (down, right), (top, left, *_) = place.kernel, place.strides, place.pads
    y = (strip * made.rows + np.arange(made.rows))[:, None] * down + np.arange(rows) - top
    x = np.arange(made.width)[:, None] * right + np.arange(columns) - left
    y, x = (size // picture.repeat for size in (y[:, None, :, None], x[None, :, None, :]))
    inside = (y >= 0) & (y < picture.height) & (x >= 0) & (x < picture.width)
    places = np.where(inside, y * picture.width + x, picture.positions)
    sizes = (
        picture.height, picture.width, picture.repeat, made.rows, made.width, strip,
        *place.kernel, *place.strides, top, left,
    )  # fmt: skip
    label = "windows_" + "_".join(map(str, sizes))
    return write.constant(label, places.reshape(-1, rows * columns).astype(np.int32))


def _columns(write: Writer, place: Convolution, dtype: ir.DataType, zero: int) -> ir.Value:
    """The weights as [taps * C, O], each more by ``zero``, made when the model is written."""
    tensor = matching.stored(place.weights)
    assert tensor is not None
    outputs, channels, rows, columns = tensor.shape.numpy()

    def values() -> np.ndarray:
        by_tap = tensor.numpy().transpose(2, 3, 1, 0).reshape(-1, outputs)
        return (by_tap.astype(np.int16) + zero).astype(dtype.numpy())

    shape = (rows * columns * channels, outputs)
    return write.lazy(f"{place.weights.name}.columns", dtype, shape, values)
