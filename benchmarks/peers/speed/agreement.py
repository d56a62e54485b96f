"""Whether two peers did the same work: how close what they computed is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: Guidance of the codes that are compared.
from work import GUIDANCE


def agreement(item: str, output: Path, truth: Path) -> dict[str, float]:
    """Cosine and relative error (Euclidean) over everything; for `step` also the share of equal codes.

    A step's code is the argmax of its guided logits. Raises SystemExit when the shapes differ.
    """
    a, b = np.load(output).astype(np.float64), np.load(truth).astype(np.float64)
    if a.shape != b.shape:
        raise SystemExit(
            f"{output}: has shape {a.shape}, {truth} {b.shape}; run both with the same options"
        )
    cosine = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    found = {
        "cosine": float(cosine),
        "relative_error": float(np.linalg.norm(a - b) / np.linalg.norm(b)),
    }
    if item == "step":
        codes = [_codes(x) for x in (a, b)]
        found["top1"] = float(np.mean(codes[0] == codes[1]))
        found["top1_of_rows"] = float(np.mean(a.argmax(-1) == b.argmax(-1)))
    return found


def _codes(logits: np.ndarray) -> np.ndarray:
    conditional, unconditional = logits[:, 0], logits[:, 1]
    codes: np.ndarray = (unconditional + GUIDANCE * (conditional - unconditional)).argmax(-1)
    return codes
