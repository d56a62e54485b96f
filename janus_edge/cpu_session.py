"""How ONNX Runtime's CPU provider opens a graph: the same way when it runs and when it is prepacked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_edge.processor import SATURATING, int8_products

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def cpu_session(
    onnxruntime: Any,
    path: Path,
    *,
    threads: int = 0,
    quantised: bool = False,
    small_floats: bool = False,
    spin: bool = False,
    prepacked: Path | None = None,
) -> InferenceSession:
    """Open the graph at ``path`` with the module ``onnxruntime``.

    ``quantised`` if it may hold Q/DQ, ``small_floats`` if these may be fp8. ONNX Runtime 1.31.1 has
    kernels for fp8 Q/DQ, but would fuse them into integer products, which it then refuses. So they are
    computed as written, and dequantised weights are kept as floats.

    ``threads`` 0 lets ONNX Runtime take one per physical core. With ``spin`` they go on looking for work
    when the graph is done, which only one graph of a loop may do: each has threads of its own, and they
    are in the way of the next graph's (a step at the 1B's dimensions took one and a half times as long
    on two cores; one pool for all is no way out: once there is one, ONNX Runtime 1.31.1 refuses sessions
    of the same process that do without). With ``prepacked`` the graph is also
    written there as this processor's kernels read it, and its weights beside it (``.weights``).
    Raises whatever ONNX Runtime raises.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # buffers planned for the shapes that were seen lie side by side, reused or not: at the 1B's
    # dimensions a VQ decode takes half as much memory again with them, and no less time
    options.enable_mem_pattern = False
    entries, disabled = {"session.force_spinning_stop": "0" if spin else "1"}, []
    if quantised:
        # blocked weights stay integers in MatMulNBits, whose products are of 8-bit integers
        entries["session.qdq_matmulnbits_accuracy_level"] = "4"
        if int8_products() == SATURATING:
            # weights become uint8. Not elsewhere: with AMX, where there is no need, ONNX Runtime 1.31.1
            # would do so, too, and products take ten times as long
            entries["session.x64quantprecision"] = "1"
        # fails on graphs of opset 21 and newer (seen with 1.31.1)
        disabled = ["QDQPropagationTransformer"]
    if small_floats:
        entries["session.disable_quant_qdq"] = "1"
    if prepacked:
        options.optimized_model_filepath = str(prepacked)
        stem = "session.optimized_model_external_initializers"
        entries[f"{stem}_file_name"] = prepacked.with_suffix(".weights").name
        entries[f"{stem}_min_size_in_bytes"] = "1024"
        entries["session.save_external_prepacked_constant_initializers"] = "1"
    for entry, value in entries.items():
        options.add_session_config_entry(entry, value)
    session: InferenceSession = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
    )
    return session
