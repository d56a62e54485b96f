"""Our ``.npz`` archives: plain arrays (no pickle) and one JSON text, read without trust."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import InputError

#: What reading an archive that is damaged was seen to raise, and related types.
_DAMAGE = (
    OSError, ValueError, TypeError, AttributeError, LookupError, EOFError, RuntimeError,
    NotImplementedError, SyntaxError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def read_archive(path: str | Path, text: str, kind: str) -> tuple[dict[str, NDArray[Any]], Any]:
    """The arrays of an archive and what its JSON ``text`` says, None if it has no such text.

    Raises InputError, which calls the file not a ``kind``, for anything that is no whole archive.
    """
    try:
        # numpy leaves a file that it opened itself open when the archive is damaged
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        described = json.loads(str(arrays.pop(text))) if text in arrays else None
    except _DAMAGE as invalid:
        raise InputError(f"{path}: not a {kind} ({invalid}); record it again") from invalid
    return arrays, described
