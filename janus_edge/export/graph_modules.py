"""Which module each graph is traced from, and the weights that are computed, not read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, normalize

from janus_edge.config import JanusConfig
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.modules.guided_sampler import GuidedSampler
from janus_edge.export.modules.heads import ImageHead, TextHead
from janus_edge.export.modules.image_embedding import ImageEmbedding
from janus_edge.export.modules.language_model import LanguageModel, rotary_tables
from janus_edge.export.modules.vision_encoder import VisionEncoder
from janus_edge.export.modules.vq_decoder import VQDecoder
from janus_edge.export.modules.vq_encoder import VQEncoder
from janus_edge.graphs import Graph

Computed = Callable[[Checkpoint], Tensor]


@dataclass(frozen=True, slots=True)
class GraphModule:
    """``build`` makes the module to trace; ``computed`` gives, by parameter name, float32 values
    that are not a weight of the checkpoint as it stands."""

    build: Callable[[JanusConfig], nn.Module]
    computed: dict[str, Computed] = field(default_factory=dict)


def codebook(checkpoint: Checkpoint) -> Tensor:
    """The VQ codebook [K, D] with rows of unit length, float32."""
    return normalize(checkpoint.tensor("model.vqmodel.quantize.embedding.weight").float(), dim=-1)


def image_embedding_table(checkpoint: Checkpoint) -> Tensor:
    """Every code's embedding behind the generation aligner, [K, H], float32."""
    aligner = "model.generation_aligner."
    x = checkpoint.tensor("model.generation_embeddings.weight").float()
    depth = checkpoint.config.gen_aligner_depth
    for name in ["fc1", *(f"hidden_layers.{i}" for i in range(depth - 1))]:
        if name != "fc1":
            x = gelu(x)
        weight = checkpoint.tensor(f"{aligner}{name}.weight").float()
        x = linear(x, weight, checkpoint.tensor(f"{aligner}{name}.bias").float())
    return x


GRAPH_MODULES = {
    Graph.VISION_ENCODER: GraphModule(VisionEncoder),
    Graph.VQ_ENCODER: GraphModule(
        lambda config: VQEncoder(config.vq), {"codebook": lambda c: codebook(c).T}
    ),
    Graph.VQ_DECODER: GraphModule(VQDecoder, {"codebook": codebook}),
    Graph.LANGUAGE_MODEL: GraphModule(
        lambda config: LanguageModel(config.language),
        {
            "rotary_cos": lambda c: rotary_tables(c.config.language)[0],
            "rotary_sin": lambda c: rotary_tables(c.config.language)[1],
        },
    ),
    Graph.TEXT_HEAD: GraphModule(TextHead),
    Graph.IMAGE_HEAD: GraphModule(ImageHead),
    Graph.IMAGE_EMBEDDING: GraphModule(ImageEmbedding, {"table": image_embedding_table}),
    Graph.GUIDED_SAMPLER: GraphModule(lambda _: GuidedSampler()),
}


def build_module(graph: Graph, config: JanusConfig, dtype: torch.dtype) -> nn.Module:
    """The module of ``graph`` with parameters of ``dtype`` (on whatever device is the default)."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return GRAPH_MODULES[graph].build(config)
    finally:
        torch.set_default_dtype(previous)
