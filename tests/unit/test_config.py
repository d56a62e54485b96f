"""Dimensions: derived sizes, and dimensions that no Janus can have."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from janus_edge.config import JanusConfig, LanguageConfig, VisionConfig, VQConfig

VISION = VisionConfig(1024, 24, 16, 4096, image_size=384, patch_size=16)
VQ = VQConfig(16384, 8, 128, (1, 1, 2, 2, 4), res_blocks=2, latent_channels=256)
LANGUAGE = LanguageConfig(2048, 24, 16, 16, 5632, vocab_size=102400, max_positions=16384)
JANUS = JanusConfig(VISION, VQ, LANGUAGE, image_head_size=2048)


def test_published_sizes() -> None:
    """The published dimensions give the published sizes: 384 pixels, 576 codes, heads of 128."""
    assert (JANUS.image_size, JANUS.image_tokens) == (384, 576)
    assert (VISION.grid, VQ.downsampling, LANGUAGE.head_dim) == (24, 16, 128)


@pytest.mark.parametrize("config", [VISION, VQ, LANGUAGE, JANUS])
def test_frozen(config: Any) -> None:
    """A configuration never changes once it is made."""
    name = next(iter(config.__dataclass_fields__))
    with pytest.raises(FrozenInstanceError):
        setattr(config, name, 1)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize(
    ("config", "name"),
    [
        (config, name)
        for config in (VISION, VQ, LANGUAGE, JANUS)
        for name, field in config.__dataclass_fields__.items()
        if field.type == "int"
    ],
)
def test_sizes_are_positive(config: Any, name: str, value: int) -> None:
    """Every size of every part must be positive."""
    with pytest.raises(ValueError, match=f"{name} must be positive, found {value}"):
        replace(config, **{name: value})


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (VISION, {"heads": 7}, "hidden_size 1024 is not a multiple of 7 heads"),
        (VISION, {"patch_size": 15}, "image_size 384 is not a multiple of patch_size 15"),
        (VQ, {"channel_multiplier": ()}, r"channel_multiplier must be positive, found \(\)"),
        (VQ, {"channel_multiplier": (1, 0)}, "channel_multiplier must be positive"),
        (VQ, {"base_channels": 48}, "base_channels must be a multiple of 32"),
        (LANGUAGE, {"heads": 15}, "hidden_size 2048 is not a multiple of 15 heads"),
        (LANGUAGE, {"kv_heads": 3}, "16 heads cannot share 3 key-value heads"),
        (LANGUAGE, {"kv_heads": 32}, "16 heads cannot share 32 key-value heads"),
        (LANGUAGE, {"hidden_size": 16}, "even head size, found 1"),
        (LANGUAGE, {"rope_theta": 0.0}, "rope_theta must be positive"),
        (JANUS, {"vq": replace(VQ, channel_multiplier=(1, 2))}, "24 x 24 .* 192 x 192 codes"),
    ],
)
def test_impossible_dimensions(config: Any, change: dict[str, Any], message: str) -> None:
    """Dimensions that contradict each other are refused when they are put together."""
    with pytest.raises(ValueError, match=message):
        replace(config, **change)
