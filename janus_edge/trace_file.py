"""The reference trace: what PyTorch computed, in a file that a machine without PyTorch replays.

An ``.npz`` archive of plain arrays (no pickle) and one JSON text ``meta``. ``export/record.py``
writes it, ``runtime/replay.py`` compares a bundle with it.

    vision.pixel_values [1,3,I,I]    vision.image_embeds [1,T,H]
    vq_encoder.pixel_values          vq_encoder.cosines [1,T,K]  (of latents and codebook)
    vq_decoder.image_codes [1,T]     vq_decoder.pixel_values [1,3,I,I]
    image_embedding.image_codes [n]  image_embedding.rows [n,H]
    text_head.hidden_states [n,H]    text_head.logits [n,V]
    steps.hidden_states [S,2,H]      steps.logits [S,2,K]        steps.image_codes [S]

Row 0 of a step is conditional, row 1 unconditional; every step follows the reference's own codes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.archive import read_archive
from janus_edge.atomic_file import written_aside
from janus_edge.errors import InputError
from janus_edge.schema import from_dict, to_dict

SCHEMA_VERSION = 1

#: The arrays, all of which a trace must hold, and their shapes in the symbols of the table above.
SHAPES = {
    "vision.pixel_values": ("1", "3", "I", "I"),
    "vision.image_embeds": ("1", "T", "H"),
    "vq_encoder.pixel_values": ("1", "3", "I", "I"),
    "vq_encoder.cosines": ("1", "T", "K"),
    "vq_decoder.image_codes": ("1", "T"),
    "vq_decoder.pixel_values": ("1", "3", "I", "I"),
    "image_embedding.image_codes": ("n",),
    "image_embedding.rows": ("n", "H"),
    "text_head.hidden_states": ("m", "H"),
    "text_head.logits": ("m", "V"),
    "steps.hidden_states": ("S", "2", "H"),
    "steps.logits": ("S", "2", "K"),
    "steps.image_codes": ("S",),
}


@dataclass(frozen=True, slots=True)
class TraceMeta:
    """What was run: the checkpoint's digest and the settings of the generation."""

    schema_version: int
    checkpoint: str
    digest: str
    prompt: str
    seed: int
    guidance_scale: float
    temperature: float


@dataclass(frozen=True, slots=True)
class ReferenceTrace:
    """Settings and arrays of a reference run (see the module's table)."""

    meta: TraceMeta
    arrays: dict[str, NDArray[Any]]

    @property
    def steps(self) -> int:
        """S: how many codes were drawn."""
        return len(self.arrays["steps.image_codes"])

    def save(self, path: str | Path) -> None:
        """Write the archive aside and rename it."""
        meta = np.array(json.dumps(to_dict(self.meta), ensure_ascii=False))
        with written_aside(path) as aside, open(aside, "wb") as out:
            np.savez(out, allow_pickle=False, meta=meta, **self.arrays)

    @classmethod
    def load(cls, path: str | Path) -> ReferenceTrace:
        """Read an archive; raises InputError for anything that is not a whole trace."""
        arrays, described = read_archive(path, "meta", "reference trace")
        missing = [] if described is not None else ["meta"]
        missing += [name for name in SHAPES if name not in arrays]
        if missing:
            raise InputError(f"{path}: has no array '{missing[0]}'; record the trace again")

        def error(message: str) -> InputError:
            return InputError(f"{path}: {message}; record the trace again")

        meta = from_dict(TraceMeta, described, error=error)
        if meta.schema_version != SCHEMA_VERSION:
            raise error(
                f"schema version {meta.schema_version}, this janus-edge reads {SCHEMA_VERSION}"
            )
        _check_shapes(arrays, error)
        return cls(meta, arrays)


def _check_shapes(arrays: dict[str, NDArray[Any]], error: Callable[[str], InputError]) -> None:
    """Shapes as in the module's table, each symbol one size throughout, and floats or integers."""
    sizes = {"1": 1, "2": 2, "3": 3}
    for name, symbols in SHAPES.items():
        array = arrays[name]
        kind = "i" if name.endswith("image_codes") else "f"
        fits = array.dtype.kind == kind and array.ndim == len(symbols) and array.size > 0
        for symbol, length in zip(symbols, array.shape, strict=False):
            fits = fits and sizes.setdefault(symbol, length) == length
        if not fits:
            raise error(f"'{name}' is {array.dtype} {array.shape}, not [{','.join(symbols)}]")
    if sizes["S"] > sizes["T"]:
        raise error(f"{sizes['S']} steps, but a picture has {sizes['T']} codes")
