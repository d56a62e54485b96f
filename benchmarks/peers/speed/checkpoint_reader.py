"""A checkpoint's weights as numpy arrays, one at a time, for environments without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: How safetensors calls what is read; bfloat16 is widened, which changes no value.
_TYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class CheckpointReader:
    """The .safetensors files of a folder (their format: length, JSON header, data)."""

    def __init__(self, folder: Path) -> None:
        self._places: dict[str, tuple[Path, int, dict[str, Any]]] = {}
        for file in sorted(folder.glob("*.safetensors")):
            with open(file, "rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                header = json.loads(opened.read(length))
            for name, entry in header.items():
                if name != "__metadata__":
                    self._places[name] = (file, 8 + length, entry)

    def __call__(self, name: str) -> NDArray[np.float32]:
        """The weight called ``name`` in float32; raises KeyError."""
        file, start, entry = self._places[name]
        first, last = entry["data_offsets"]
        dtype = np.dtype(_TYPES[entry["dtype"]])
        count = (last - first) // dtype.itemsize
        raw = np.memmap(file, dtype, "r", start + first, (count,))
        if entry["dtype"] == "BF16":
            values = (raw.astype(np.uint32) << 16).view(np.float32)
        else:
            values = raw.astype(np.float32)
        return values.reshape(entry["shape"])
