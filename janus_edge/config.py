"""The dimensions and token ids of a Janus model: frozen, checked when made, never changed.

Both checkpoint formats are reduced to these types (``export/checkpoint_config.py``); a bundle's
manifest carries them, and the graph table, the exporter and the runtime read nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value <= 0:
            raise ValueError(f"{name} must be positive, found {value}")


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """SigLIP vision encoder and the aligner behind it."""

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    image_size: int
    patch_size: int
    layer_norm_eps: float = 1e-6
    aligner_depth: int = 2

    def __post_init__(self) -> None:
        _positive(self, "hidden_size", "layers", "heads", "intermediate_size", "aligner_depth")
        _positive(self, "image_size", "patch_size")
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of {self.heads} heads"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the picture (24 for 384 / 16)."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, slots=True)
class VQConfig:
    """VQ encoder, codebook and decoder (VQ-16 in the published checkpoints)."""

    codebook_size: int
    codebook_dim: int
    base_channels: int
    channel_multiplier: tuple[int, ...]
    res_blocks: int
    latent_channels: int

    #: GroupNorm's groups, a constant of the original's code
    NORM_GROUPS = 32
    NORM_EPS = 1e-6

    def __post_init__(self) -> None:
        _positive(self, "codebook_size", "codebook_dim", "base_channels", "res_blocks")
        _positive(self, "latent_channels")
        if not self.channel_multiplier or min(self.channel_multiplier) <= 0:
            raise ValueError(
                f"channel_multiplier must be positive, found {self.channel_multiplier}"
            )
        if self.base_channels % self.NORM_GROUPS:
            raise ValueError(
                f"base_channels must be a multiple of {self.NORM_GROUPS} (the groups of its norms), "
                f"found {self.base_channels}"
            )

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a code (16 for five levels)."""
        return int(2 ** (len(self.channel_multiplier) - 1))


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """The Llama language model."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        _positive(self, "hidden_size", "layers", "heads", "kv_heads", "intermediate_size")
        _positive(self, "vocab_size", "max_positions", "rope_theta")
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of {self.heads} heads"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key-value heads")
        if self.head_dim % 2:
            raise ValueError(f"rotary embeddings need an even head size, found {self.head_dim}")

    @property
    def head_dim(self) -> int:
        """Size of one attention head."""
        return self.hidden_size // self.heads


@dataclass(frozen=True, slots=True)
class JanusConfig:
    """All dimensions of a Janus model."""

    vision: VisionConfig
    vq: VQConfig
    language: LanguageConfig
    image_head_size: int
    gen_aligner_depth: int = 2

    def __post_init__(self) -> None:
        _positive(self, "image_head_size", "gen_aligner_depth")
        codes = self.vision.image_size // self.vq.downsampling
        if codes != self.vision.grid:
            raise ValueError(
                f"the vision encoder makes {self.vision.grid} x {self.vision.grid} patches of a picture "
                f"and the VQ encoder {codes} x {codes} codes; Janus needs them equal"
            )

    @property
    def image_size(self) -> int:
        """Pixels along one side of a picture (384)."""
        return self.vision.image_size

    @property
    def image_tokens(self) -> int:
        """Codes of one generated picture, and placeholders of one input picture (576)."""
        return self.vision.grid**2


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of the tokens that the prompts are built from, looked up by their strings."""

    bos: int
    eos: int
    pad: int
    image_start: int
    image_placeholder: int
    image_end: int


#: The strings of the special tokens; the ids differ between checkpoints.
SPECIAL_TOKEN_STRINGS = {
    "bos": "<｜begin▁of▁sentence｜>",
    "eos": "<｜end▁of▁sentence｜>",
    "pad": "<｜▁pad▁｜>",
    "image_start": "<begin_of_image>",
    "image_placeholder": "<image_placeholder>",
    "image_end": "<end_of_image>",
}
