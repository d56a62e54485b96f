"""Names of the places of a picture."""

from __future__ import annotations

from janus_edge.shapes.scene import SIZE

_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")
_UNCLEAR = 3  # pixels on both sides of a border between two places


def place_of(x: float, y: float) -> str | None:
    """'top left', 'top', ..., 'centre' of the thirds of a picture; None close to a border."""
    names = []
    for value, words in ((y, _ROWS), (x, _COLUMNS)):
        third = SIZE / 3
        if any(abs(value - border) < _UNCLEAR for border in (third, 2 * third)):
            return None
        names.append(words[int(value // third)])
    return " ".join(filter(None, names)) or "centre"
