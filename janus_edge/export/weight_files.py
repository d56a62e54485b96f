"""Files of weights, read one tensor at a time so that memory does not grow with the checkpoint.

A mapped file counts as resident memory wherever it was touched. Safetensors are therefore read
with plain reads of the byte range (the format: github.com/huggingface/safetensors), and a mapped
``.bin`` is unmapped after every :data:`MAPPED_BYTES` that were read from it.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from janus_edge.errors import CheckpointError

MAPPED_BYTES = 512 << 20
#: The limit of the safetensors library; a longer header is a damaged length.
_HEADER_BYTES = 100_000_000
#: What parsing JSON that is damaged, or is not the JSON expected, comes to.
_HEADER_ERRORS = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError),
    *(RecursionError, struct.error),
)
#: safetensors' name of each float type that a weight may have.
SAFETENSORS_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

Rows = tuple[int, int] | None


class WeightFile(Protocol):
    """A file of named tensors. ``dtypes`` has a readable description of types not supported."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype | str]

    def read(self, name: str, rows: Rows = None) -> Tensor:
        """The tensor ``name``, or its rows (first, end) along axis 0, in memory of its own."""
        ...

    def release(self) -> None:
        """Let go of what reading holds on to; the file can still be read afterwards."""
        ...


class SafetensorsFile:
    """A ``.safetensors`` file. Raises CheckpointError if its header is damaged or lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype | str] = {}
        self._offsets: dict[str, int] = {}
        try:
            self._read_header()
        except _HEADER_ERRORS as damaged:
            raise CheckpointError(
                f"{path} is not a readable safetensors file ({damaged}): download it again"
            ) from damaged

    def read(self, name: str, rows: Rows = None) -> Tensor:
        """See :class:`WeightFile`; CheckpointError if the file has become shorter meanwhile."""
        shape, dtype = self.shapes[name], self.dtypes[name]
        assert isinstance(dtype, torch.dtype)
        first, end = rows or (0, shape[0])
        tensor = torch.empty((end - first, *shape[1:]), dtype=dtype)
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        values = tensor.reshape(-1).view(torch.uint8).numpy().data
        try:
            with self.path.open("rb") as file:
                file.seek(self._offsets[name] + first * row_bytes)
                count = file.readinto(values)
        except OSError as failed:
            raise CheckpointError(f"{self.path} cannot be read: {failed}") from failed
        if count != len(values):
            raise CheckpointError(f"{self.path} ends inside '{name}': download it again")
        return tensor

    def release(self) -> None:
        """Nothing is held."""

    def _read_header(self) -> None:
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_HEADER_BYTES, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            shape = tuple(entry["shape"])
            if not all(type(n) is int and n >= 0 for n in (start, end, *shape)):
                raise ValueError(f"'{name}' has the shape {shape} at {start} to {end}")
            dtype = SAFETENSORS_DTYPES.get(entry["dtype"])
            if dtype and end - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"'{name}' has {end - start} bytes for the shape {shape}")
            if 8 + length + end > size:
                raise ValueError(f"truncated: '{name}' ends at byte {8 + length + end} of {size}")
            self.shapes[name] = shape
            self.dtypes[name] = dtype or str(entry["dtype"])
            self._offsets[name] = 8 + length + start


class BinFile:
    """A ``.bin`` file of ``torch.save``, loaded without running any code that it may contain.

    A file of the format before PyTorch 1.6 cannot be mapped and is held whole until
    :meth:`release`. Raises CheckpointError if the file is damaged or not a dictionary of tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        state = self._load()
        self.shapes: dict[str, tuple[int, ...]] = {n: tuple(t.shape) for n, t in state.items()}
        self.dtypes: dict[str, torch.dtype | str] = {
            n: t.dtype if t.dtype in SAFETENSORS_DTYPES.values() else str(t.dtype)
            for n, t in state.items()
        }
        self._state: Mapping[str, Tensor] | None = None
        self._touched = 0

    def read(self, name: str, rows: Rows = None) -> Tensor:
        """See :class:`WeightFile`."""
        if self._state is None:
            self._state = self._load()
        part = self._state[name].detach()
        if rows:
            part = part[rows[0] : rows[1]]
        tensor = part.clone(memory_format=torch.contiguous_format)
        del part
        self._touched += tensor.nbytes
        if self._touched >= MAPPED_BYTES and zipfile.is_zipfile(self.path):
            self.release()
        return tensor

    def release(self) -> None:
        """Unmap the file."""
        self._state, self._touched = None, 0

    def _load(self) -> Mapping[str, Tensor]:
        try:
            state: Any = torch.load(
                self.path,
                map_location="cpu",
                weights_only=True,
                mmap=zipfile.is_zipfile(self.path),
            )
        except pickle.UnpicklingError as refused:
            raise CheckpointError(
                f"{self.path} is damaged, or holds Python code instead of plain weights, and was "
                f"not loaded: get the checkpoint as safetensors, or download it again"
            ) from refused
        except _UNPICKLING_ERRORS as damaged:
            raise CheckpointError(
                f"{self.path} is not a readable PyTorch file ({type(damaged).__name__}): "
                "download it again"
            ) from damaged
        if not isinstance(state, Mapping) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
        ):
            raise CheckpointError(
                f"{self.path} is not a dictionary of weights by name: pass the folder of a Janus "
                "checkpoint"
            )
        return state


#: What torch.load lets through, depending on where a file is damaged.
_UNPICKLING_ERRORS = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, struct.error, zipfile.BadZipFile),
)


def open_weight_files(folder: Path) -> dict[str, WeightFile]:
    """Stored name -> the file that holds it, for all weights in the checkpoint ``folder``.

    Safetensors go before ``.bin``, a single file before shards. Raises CheckpointError if there are
    no weights, or a shard is missing, damaged, or named by a path that leaves the folder.
    """
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        single, index = folder / f"{stem}{suffix}", folder / f"{stem}{suffix}.index.json"
        if single.is_file():
            file = _open(single)
            return dict.fromkeys(file.shapes, file)
        if index.is_file():
            return _open_shards(index)
    raise CheckpointError(
        f"no weights in {folder}: a checkpoint has model.safetensors, pytorch_model.bin, or shards "
        "of them with a .index.json; download it again"
    )


def _open(path: Path) -> WeightFile:
    return SafetensorsFile(path) if path.suffix == ".safetensors" else BinFile(path)


def _open_shards(index: Path) -> dict[str, WeightFile]:
    try:
        shard_of = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(shard_of.values()))
    except _HEADER_ERRORS as damaged:
        raise CheckpointError(
            f"{index} is not a readable list of shards ({damaged}): download it again"
        ) from damaged
    files: dict[str, WeightFile] = {}
    for shard in shards:
        # A plain file name: the folder itself may hold links, as the hub's cache does.
        if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard:
            raise CheckpointError(
                f"{index} names the shard {shard!r}, which is not a file beside it: download the "
                "checkpoint again from a source that you trust"
            )
        if not shard.endswith((".safetensors", ".bin")) or not (index.parent / shard).is_file():
            raise CheckpointError(
                f"{index} names the shard '{shard}', which is missing: download it again"
            )
        files[shard] = _open(index.parent / shard)
    stored = {name: file for file in files.values() for name in file.shapes}
    for name, shard in shard_of.items():
        if name not in files[shard].shapes:
            raise CheckpointError(
                f"{index} says that '{name}' is in {shard}, where it is not: download it again"
            )
        stored[name] = files[shard]
    return stored
