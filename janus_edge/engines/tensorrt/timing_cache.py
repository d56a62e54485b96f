"""TensorRT's timing cache: how long kernels took, kept from one build to the next.

    FOLDER/tensorrt-10.16.1-Orin-8.7.timing     one per version and GPU

TensorRT checks what it is given and starts anew from a cache of another version or GPU. The file may
be removed at any time; it costs the next build the time of measuring.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from janus_edge.atomic_file import written_aside
from janus_edge.cuda_driver import Gpu
from janus_edge.errors import InputError

_LOG = logging.getLogger(__name__)


class TimingCache:
    """The file of one version of TensorRT on one GPU, in ``folder``."""

    def __init__(self, folder: Path, tool: str, version: str, gpu: Gpu) -> None:
        words = (tool, version, gpu.name, gpu.compute_capability)
        safe = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word) for word in words)
        self.path = folder / f"{safe}.timing"

    def read(self) -> bytes | None:
        """What was kept; None where there is nothing to read."""
        try:
            return self.path.read_bytes()
        except OSError:
            return None

    def keep(self, content: bytes) -> None:
        """Put ``content`` in its place whole; that it cannot be kept is said in the log."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(self.path) as path:
                path.write_bytes(content)
        except (InputError, OSError) as failure:
            _LOG.warning("the timing cache is not kept (%s)", failure)
