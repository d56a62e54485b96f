"""Pixels for checks and traces: both sides get the same, so no particular fit is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable  # Python 3.11


def read_pixels(image: str | Path | Traversable, size: int) -> Tensor:
    """A picture stretched to a square, in [-1, 1], [1, 3, size, size] float32."""
    source = Path(image) if isinstance(image, str) else image
    with source.open("rb") as stream:
        picture = Image.open(stream).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
