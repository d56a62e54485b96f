"""The kernels that TensorRT-RTX compiled for this GPU, kept from one process to the next.

    $JANUS_EDGE_CACHE/kernels/KEY.kernels       SHA-256 of the rest (32 bytes), TensorRT-RTX' own bytes

TensorRT-RTX compiles kernels when shapes are first met, which makes a first start slow. KEY is a
SHA-256 over what the kernels are of: the engine's own key, the version, the GPU. A file may be removed
at any time; it costs the next start the time of compiling.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from janus_edge.atomic_file import written_aside
from janus_edge.cache_folder import cache_folder
from janus_edge.errors import InputError
from janus_edge.runtime.tensorrt.messages import Messages
from janus_edge.runtime.tensorrt.objects import IRuntimeCache, IRuntimeConfig

_LOG = logging.getLogger(__name__)

_DIGEST = 32  # bytes of a SHA-256


class KernelCache:
    """The cache that all contexts of an engine share; it must outlive them.

    ``ingredients`` are what the kernels depend on. That a file cannot be used or written is said in
    the log and costs time, nothing else.
    """

    def __init__(self, ingredients: Sequence[str], messages: Messages) -> None:
        self._messages = messages
        self._path = _path(ingredients)
        self._cache: IRuntimeCache | None = None
        self._kept = b""

    def attach(self, config: IRuntimeConfig) -> None:
        """Let a context of ``config`` take its kernels from here and leave here what it compiles.

        There must be a current CUDA context: what was kept is checked against its GPU.
        """
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._load(self._cache)
        if not config.set_runtime_cache(self._cache):
            self._messages.errors.clear()  # said of the cache, not of the next failure
            _LOG.warning("kernels are not cached: TensorRT refused the cache")

    def keep(self) -> None:
        """Write what is cached now, if it is more than was read."""
        if self._cache is None or self._path is None:
            return
        made = self._cache.serialize()
        content = b"" if made is None else bytes(memoryview(made))
        if not content or content == self._kept:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(self._path) as path:
                path.write_bytes(hashlib.sha256(content).digest() + content)
        except (InputError, OSError) as failure:
            _LOG.warning("compiled kernels are not kept (%s)", failure)
        else:
            self._kept = content

    def close(self) -> None:
        """Free the cache; the contexts that use it must be gone."""
        self._cache = None

    def _load(self, cache: IRuntimeCache) -> None:
        content = self._read()
        if not content:
            return
        if cache.deserialize(content):
            self._kept = content
            return
        self._messages.errors.clear()
        _LOG.warning("%s: of another driver or version, so kernels are compiled anew", self._path)

    def _read(self) -> bytes:
        """What was kept; nothing where there is none or where the file is damaged."""
        try:
            file = self._path.read_bytes() if self._path else b""
        except OSError:
            return b""
        digest, content = file[:_DIGEST], file[_DIGEST:]
        if file and hashlib.sha256(content).digest() != digest:
            _LOG.warning("%s: is damaged, so kernels are compiled anew", self._path)
            return b""
        return content


def _path(ingredients: Sequence[str]) -> Path | None:
    """The file of these ingredients; None where this user has no place for one."""
    key = hashlib.sha256("\n".join(ingredients).encode()).hexdigest()
    try:
        return cache_folder("kernels") / f"{key}.kernels"
    except InputError as homeless:
        _LOG.warning("compiled kernels are not kept (%s)", homeless)
        return None
