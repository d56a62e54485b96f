"""Precision as data: which float type a bundle's graphs compute in.

A recipe knows no backend. Quantised recipes add ordered rules over node names (first match wins);
the three float recipes need none.
"""

from __future__ import annotations

from dataclasses import dataclass

from janus_edge.errors import InputError


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named precision; ``float_type`` is ``float32``, ``float16`` or ``bfloat16``."""

    name: str
    float_type: str

    def __post_init__(self) -> None:
        if self.float_type not in ("float32", "float16", "bfloat16"):
            raise ValueError(
                f"float_type must be float32, float16 or bfloat16, found {self.float_type!r}"
            )

    @property
    def bytes_per_float(self) -> int:
        """Bytes of one value of ``float_type``."""
        return 4 if self.float_type == "float32" else 2


RECIPES = {
    r.name: r
    for r in (Recipe("fp32", "float32"), Recipe("fp16", "float16"), Recipe("bf16", "bfloat16"))
}


def recipe(name: str) -> Recipe:
    """The recipe called ``name``; raises :class:`InputError` with the known names."""
    try:
        return RECIPES[name]
    except KeyError:
        raise InputError(
            f"unknown precision {name!r}: choose one of {', '.join(RECIPES)}"
        ) from None
