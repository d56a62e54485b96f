"""The token embeddings: a memory-mapped table of which only the rows asked for are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.bundle import Bundle
from janus_edge.errors import BundleError, InputError


class TextEmbeddings:
    """Rows [vocabulary, H] on disk."""

    def __init__(self, bundle: Bundle) -> None:
        entry = bundle.manifest.text_embeddings
        stored = np.dtype(np.uint16 if entry.dtype == "bfloat16" else entry.dtype)
        path = bundle.file(entry.file)
        if path.stat().st_size != stored.itemsize * int(np.prod(entry.shape)):
            raise BundleError(
                f"{path}: its size does not fit {entry.shape} {entry.dtype}; export again"
            )
        self._table = np.memmap(path, stored, "r", shape=entry.shape)
        self._bfloat16 = entry.dtype == "bfloat16"

    def __call__(self, ids: Sequence[int]) -> NDArray[Any]:
        """Token ids [S] -> embeddings [S, H] (float32 where the table is bfloat16).

        Raises InputError for an id outside the vocabulary.
        """
        index = np.asarray(ids, np.int64)
        outside = index[(index < 0) | (index >= len(self._table))]
        if outside.size:
            raise InputError(
                f"token id {outside[0]} is outside the model's vocabulary of {len(self._table)}; "
                "the tokenizer does not belong to this model"
            )
        rows = np.asarray(self._table[index])
        if self._bfloat16:
            return (rows.astype(np.uint32) << 16).view(np.float32)
        return rows
