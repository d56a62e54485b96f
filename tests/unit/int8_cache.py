"""A bundle whose KV cache is int8, or of another recipe with ranges, made as a user would."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.calibrate import Item, Options, calibrate
from janus_edge.calib.recipes import quantised_recipe

_ITEMS = (
    Item("a red fox", None, ("What is it?",)), Item("a house by the sea", None, ()),
    Item(None, Image.new("RGB", (40, 30), (90, 120, 60)), ("What is this?",)),
)  # fmt: skip


def int8_cache_bundle(parent: Path, folder: Path, recipe: str = "int8-cache") -> Path:
    """``parent`` in ``recipe``; the calibration lies beside it."""
    bundle, calibration = Bundle.open(parent), folder / "calibration.npz"
    calibrate(bundle, _ITEMS, calibration, Options(fraction=1.0, max_new_tokens=20))
    wanted = quantised_recipe(recipe, bundle.manifest.recipe.float_type)
    return quantise_bundle(bundle, folder / "quantised", wanted, calibration)[0].path
