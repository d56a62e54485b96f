"""The PyTorch reference that graphs are held to.

It runs transformers' modules, an implementation independent of the traced ones, in float32, with
the checkpoint's weights, and with the original deepseek-ai rule where transformers' differs (the
nearest-code search of the VQ encoder). Weights of one stage, or of one decoder layer, are resident
at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import DynamicCache, LlamaConfig
from transformers.models.janus import configuration_janus, modeling_janus
from transformers.models.llama import modeling_llama

from janus_edge.export.checkpoint import Checkpoint

if TYPE_CHECKING:
    from transformers.cache_utils import Cache

M = TypeVar("M", bound=nn.Module)


class Reference:
    """A checkpoint run by PyTorch, stage by stage; all results are float32 or int64."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.config = checkpoint.config

    def image_embeds(self, pixel_values: Tensor) -> Tensor:
        """Pixels [N, 3, I, I] -> embeddings [N, T, H]."""
        config = self._vision()
        with self._stage(lambda: modeling_janus.JanusVisionModel(config), "vision_model.") as tower:
            tower.embeddings.position_ids = torch.arange(self.config.image_tokens)[None]
            hidden = tower(pixel_values).last_hidden_state
        with self._stage(lambda: modeling_janus.JanusVisionAlignerMLP(config), "aligner.") as align:
            return align(hidden)

    def vq_cosines(self, pixel_values: Tensor) -> Tensor:
        """Pixels [N, 3, I, I] -> cosine of every latent with every code [N, T, K].

        The original normalises both sides before it takes the nearest code (`l2_norm` in its
        VectorQuantizer), so the code is the argmax of this; transformers' encoder does not.
        """
        with self._stage(lambda: modeling_janus.JanusVQVAE(self._vq()), "vqmodel.") as vq:
            latents = vq.quant_conv(vq.encoder(pixel_values)).flatten(2).transpose(1, 2)
            return normalize(latents, dim=-1) @ normalize(vq.quantize.embedding.weight, dim=-1).T

    def vq_pixels(self, image_codes: Tensor) -> Tensor:
        """Codes [N, T] -> pixels [N, 3, I, I]."""
        with self._stage(lambda: modeling_janus.JanusVQVAE(self._vq()), "vqmodel.") as vq:
            return vq.decode(image_codes)

    def image_embedding(self, image_codes: Tensor) -> Tensor:
        """Codes [P] -> embeddings of the next step [P, H]."""
        with self._image_embedding() as embed:
            return embed(image_codes)

    def text_logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states [N, H] -> logits [N, V]."""
        return hidden_states @ self.checkpoint.tensor("lm_head.weight").float().T

    def image_logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states [N, H] -> logits [N, K]."""
        with self._image_head() as head:
            return head(hidden_states)

    def text_embeds(self, ids: Tensor) -> Tensor:
        """Token ids [...] -> embeddings [..., H]."""
        return self.checkpoint.tensor("model.language_model.embed_tokens.weight")[ids].float()

    def hidden_states(self, inputs_embeds: Tensor) -> Tensor:
        """Embeddings [B, S, H] from position 0 -> hidden states behind the final norm [B, S, H].

        Causal, so what is padded on the right of a row does not reach the row itself.
        """
        config = self._llama()
        positions = torch.arange(inputs_embeds.shape[1])[None]
        rotary = modeling_llama.LlamaRotaryEmbedding(config)(inputs_embeds, positions)
        x = inputs_embeds
        for index in range(self.config.language.layers):
            build = partial(modeling_llama.LlamaDecoderLayer, config, index)
            with self._stage(build, f"language_model.layers.{index}.") as layer:
                x = layer(x, position_embeddings=rotary, position_ids=positions)
        build = partial(modeling_llama.LlamaRMSNorm, config.hidden_size, config.rms_norm_eps)
        with self._stage(build, "language_model.norm.") as final:
            return final(x)

    def rotary_tables(self) -> dict[str, Tensor]:
        """``rotary_cos`` and ``rotary_sin`` of every position [max_positions, head_dim / 2]."""
        positions = torch.arange(self.config.language.max_positions)[None]
        cos, sin = modeling_llama.LlamaRotaryEmbedding(self._llama())(torch.zeros(1), positions)
        half = self.config.language.head_dim // 2  # transformers repeats the angles
        return {"rotary_cos": cos[0, :, :half], "rotary_sin": sin[0, :, :half]}

    @contextmanager
    def language_model(self) -> Iterator[ResidentLanguageModel]:
        """The whole language model and the image head resident, for decoding step by step."""
        config = self._llama()

        def build() -> nn.Module:
            model = modeling_llama.LlamaModel(config)
            model.embed_tokens = nn.Identity()
            return model

        with (
            self._stage(build, "language_model.") as body,
            self._image_head() as head,
            self._image_embedding() as embed,
        ):
            body.rotary_emb = modeling_llama.LlamaRotaryEmbedding(config)
            yield ResidentLanguageModel(body, head, embed)

    @contextmanager
    def _image_embedding(self) -> Iterator[Callable[[Tensor], Tensor]]:
        config = self._vq()
        table = self.checkpoint.tensor("model.generation_embeddings.weight").float()
        with self._stage(
            lambda: modeling_janus.JanusVQVAEAlignerMLP(config), "generation_aligner."
        ) as aligner:
            yield lambda codes: aligner(table[codes])

    def _image_head(self) -> AbstractContextManager[nn.Module]:
        config = self._vq()
        return self._stage(lambda: modeling_janus.JanusVQVAEHead(config), "generation_head.")

    @contextmanager
    def _stage(self, build: Callable[[], M], prefix: str) -> Iterator[M]:
        """The module with the weights below ``model.`` + ``prefix``, in inference mode."""
        prefix = "model." + prefix
        with torch.device("meta"):
            module = build()
        names = module.state_dict().keys()
        weights = {name: self.checkpoint.tensor(prefix + name).float() for name in names}
        module.load_state_dict(weights, assign=True)
        with torch.inference_mode():
            yield module.eval()

    def _llama(self) -> LlamaConfig:
        lm = self.config.language
        return LlamaConfig(
            hidden_size=lm.hidden_size,
            intermediate_size=lm.intermediate_size,
            num_hidden_layers=lm.layers,
            num_attention_heads=lm.heads,
            num_key_value_heads=lm.kv_heads,
            vocab_size=lm.vocab_size,
            max_position_embeddings=lm.max_positions,
            rms_norm_eps=lm.rms_norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": lm.rope_theta},
            attn_implementation="sdpa",
        )

    def _vision(self) -> configuration_janus.JanusVisionConfig:
        vision = self.config.vision
        return configuration_janus.JanusVisionConfig(
            hidden_size=vision.hidden_size,
            num_hidden_layers=vision.layers,
            num_attention_heads=vision.heads,
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            layer_norm_eps=vision.layer_norm_eps,
            mlp_ratio=vision.intermediate_size / vision.hidden_size,
            projection_dim=self.config.language.hidden_size,
            depth=vision.aligner_depth,
            num_image_tokens=self.config.image_tokens,
            attn_implementation="sdpa",
        )

    def _vq(self) -> configuration_janus.JanusVQVAEConfig:
        vq = self.config.vq
        return configuration_janus.JanusVQVAEConfig(
            embed_dim=vq.codebook_dim,
            num_embeddings=vq.codebook_size,
            latent_channels=vq.latent_channels,
            base_channels=vq.base_channels,
            channel_multiplier=list(vq.channel_multiplier),
            num_res_blocks=vq.res_blocks,
            num_patches=self.config.vision.grid,
            projection_dim=self.config.image_head_size,
            num_hidden_layers=self.config.gen_aligner_depth,
            image_token_embed_dim=self.config.language.hidden_size,
        )


class ResidentLanguageModel:
    """What a decoding step needs, in memory, with transformers' own growing cache."""

    def __init__(self, body: nn.Module, head: nn.Module, embed: Callable[[Tensor], Tensor]) -> None:
        self._body, self._head, self._embed = body, head, embed
        self._cache: Cache = DynamicCache()

    def step(self, inputs_embeds: Tensor) -> Tensor:
        """New embeddings [B, S, H] -> hidden states [B, S, H]; the cache grows by S."""
        with torch.inference_mode():
            result = self._body(
                inputs_embeds=inputs_embeds, past_key_values=self._cache, use_cache=True
            )
        hidden: Tensor = result.last_hidden_state
        return hidden

    def image_logits(self, hidden_states: Tensor) -> Tensor:
        """Hidden states [N, H] -> logits [N, K]."""
        with torch.inference_mode():
            logits: Tensor = self._head(hidden_states)
        return logits

    def image_embedding(self, image_codes: Tensor) -> Tensor:
        """Codes [P] -> embeddings of the next step [P, H]."""
        with torch.inference_mode():
            return self._embed(image_codes)
