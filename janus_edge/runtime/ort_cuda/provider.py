"""ONNX Runtime on one device: its memory, its sessions, and what its failures mean."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, Literal

from janus_edge.cuda_driver import why_no_gpu
from janus_edge.errors import BackendError, DependencyError
from janus_edge.runtime.session import check_version

#: 'cpu' is for tests: the same bindings on memory of the host.
Device = Literal["cuda", "cpu"]

_PROVIDERS: dict[Device, str] = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}

_INSTALL = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'janus-edge[gpu]'"

#: Optimisers that are switched off for Q/DQ nodes. The first fails on graphs of opset 21 and newer (seen
#: with 1.31.1); the second gives convolutions int32 biases, for which there is no CUDA kernel.
_DISABLED = ["QDQPropagationTransformer", "WeightBiasQuantization"]

#: What a message tells of the fix; the first that is found in it.
_FIXES = (
    (
        ("out of memory", "allocate memory", "bad allocation", "CUDA failure 2:"),
        "free memory of the GPU, ask for fewer pictures at once, or build from a bundle with smaller "
        "weights (fp16, int4-weight)",
    ),
    (
        ("graph capture", "CUDA Graph", "StreamCapture", "capturing"),
        "run without a CUDA graph: --no-cuda-graph",
    ),
    (
        ("cuDNN is unavailable",),  # the session opens without it, and its first convolution fails
        "install cuDNN's library with  pip install 'onnxruntime-gpu[cuda,cudnn]'",
    ),
    (
        ("no kernel image", "CUDA failure 209"),
        "this GPU is older than what ONNX Runtime was built for; use the target tensorrt or ort-cpu",
    ),
    (
        ("driver version is insufficient", "CUDA failure 35"),
        "update the NVIDIA driver: it is older than ONNX Runtime's CUDA",
    ),
)  # fmt: skip


class Provider:
    """Opens graphs on ``device``; with ``cuda_graph`` those that ask for it can be captured.

    Raises DependencyError without ONNX Runtime, or without its CUDA provider, and BackendError for
    one that is too old and without a GPU.
    """

    def __init__(self, device: Device = "cuda", *, cuda_graph: bool = True) -> None:
        try:
            import onnxruntime
        except ImportError as missing:
            raise DependencyError(
                f"the Python package 'onnxruntime' is not installed: install it with  {_INSTALL}"
            ) from missing
        check_version(onnxruntime.__version__)
        self.ort, self.device, self.name = onnxruntime, device, _PROVIDERS[device]
        self.cuda_graph = cuda_graph and device == "cuda"
        self._loading = ""
        if device == "cuda":
            self._check_cuda()

    def _check_cuda(self) -> None:
        """Look for the provider and the GPU, and load CUDA's libraries from where pip installs them."""
        told = io.StringIO()
        with contextlib.redirect_stdout(told):  # it prints what it could not load
            self.ort.preload_dlls()
        self._loading = " ".join(told.getvalue().split())
        registered = {found.ep_name for found in self.ort.get_ep_devices()}  # builds with plugins
        if self.name not in {*self.ort.get_available_providers(), *registered}:
            raise DependencyError(
                f"the installed onnxruntime {self.ort.__version__} has no CUDA provider (onnxruntime "
                f"and onnxruntime-gpu write the same folder); install the other one with  {_INSTALL}"
            )
        reason = why_no_gpu()
        if reason:
            raise BackendError(f"no GPU can be used: {reason}")

    def open(self, path: Path, *, captured: bool = False, quantised: bool = False) -> Any:
        """An InferenceSession for the graph at ``path``, every node of it on the device.

        ``captured`` if its runs may be captured in CUDA graphs, ``quantised`` if it may hold Q/DQ
        nodes. Raises BackendError, which names the nodes that have no kernel.
        """
        try:
            return self._session(path, self._options(quantised, strict=True), captured, quantised)
        except Exception as failure:  # onnxruntime's exceptions have no common base but this
            raise BackendError(
                f"{path}: ONNX Runtime {self.ort.__version__} cannot open the graph on the device: "
                f"{self._why_not(path, failure, quantised)}"
            ) from failure

    def _session(self, path: Path, options: Any, captured: bool, quantised: bool) -> Any:
        # no device_id: 0 is the default, and where it is given 1.31.1 warns that no plugin has it
        own = {"use_tf32": "0"}  # 10 bits of float32's mantissa are not float32
        if captured and self.cuda_graph:
            own["enable_cuda_graph"] = "1"
        return self.ort.InferenceSession(
            str(path),
            options,
            providers=[(self.name, own if self.device == "cuda" else {})],
            disabled_optimizers=_DISABLED if quantised else [],
            enable_fallback=0,  # it would try the CPU, and print so
        )

    def _options(self, quantised: bool, *, strict: bool) -> Any:
        options = self.ort.SessionOptions()
        options.log_severity_level = 3 if strict else 4
        if quantised:
            # blocked weights stay integers in MatMulNBits
            options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
        if self.device == "cuda":
            # an arena grows by powers of two, and weights never leave it
            options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
            entry = "disable_cpu_ep_fallback" if strict else "record_ep_graph_assignment_info"
            options.add_session_config_entry(f"session.{entry}", "1")
        return options

    def _why_not(self, path: Path, failure: Exception, quantised: bool) -> str:
        """The reason for a session that was not opened, with its fix."""
        if "fallback to CPU EP" not in str(failure):
            return self.told(
                failure, "check the engine with `janus-edge verify`, or build it again"
            )
        try:  # once more, to be told which nodes these are
            session = self._session(path, self._options(quantised, strict=False), False, quantised)
        except Exception as again:  # noqa: BLE001 - as above
            return self.told(again, "check the engine with `janus-edge verify`, or build it again")
        if self.name not in session.get_providers():
            told = f" ({self._loading})" if self._loading else ""
            return (
                f"its CUDA provider could not be loaded{told}; install CUDA's and cuDNN's libraries "
                f"with  pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        nodes = [
            f"{node.name} ({node.op_type})"
            for part in session.get_provider_graph_assignment_info()
            if part.ep_name != self.name
            for node in part.get_nodes()
        ]
        return (
            f"{len(nodes)} of its nodes have no kernel there: {', '.join(nodes[:5])}"
            f"{', ...' if len(nodes) > 5 else ''}; build the engine for another target (tensorrt, "
            "ort-cpu), or from a bundle of another precision (fp16, fp32)"
        )

    def told(self, failure: Exception, otherwise: str) -> str:
        """A failure's text on one line, and the fix that it calls for, or else ``otherwise``."""
        text = " ".join(str(failure).split())
        fixes = (fix for signs, fix in _FIXES if any(sign in text for sign in signs))
        return f"{text}; {next(fixes, otherwise)}"

    def run_options(self, graph_id: int) -> Any:
        """Options of runs that are captured as ``graph_id``; -1 for runs that must not be."""
        options = self.ort.RunOptions()
        if self.cuda_graph:
            options.add_run_config_entry("gpu_graph_id", str(graph_id))
        return options
