"""An estimate of the scratch memory of a graph whose builder states none."""

from __future__ import annotations

from janus_edge.config import JanusConfig
from janus_edge.graphs import Graph
from janus_edge.runtime.language_model import PREFILL_CHUNK


def scratch_bytes(
    graph: Graph, config: JanusConfig, itemsize: int, rows: int, capacity: int
) -> int:
    """An estimate of the intermediate results of ``graph`` that are alive at once.

    One picture at a time for the picture graphs, a chunk of the prompt for the language model. The
    largest of: an MLP's input, inner values before and after the activation (and gate); attention's
    residual, queries, keys, values, results, and the scores of all heads in float32; of a VQ model
    three maps of the widest level (input, output and shortcut of a block). Kernels that keep no
    scores take less, others more: TensorRT-RTX 1.7 stated about 8 MB more for each graph; for the
    VQ decoder in float32 it stated five times this estimate beyond that, and in float16 the same.
    """
    vision, vq, lm = config.vision, config.vq, config.language
    tokens = config.image_tokens
    if graph is Graph.VISION_ENCODER:
        mlp = tokens * (vision.hidden_size + 2 * vision.intermediate_size) * itemsize
        scores = vision.heads * tokens**2 * 4
        return max(mlp, tokens * 5 * vision.hidden_size * itemsize + scores)
    if graph in (Graph.VQ_ENCODER, Graph.VQ_DECODER):
        widths = [vq.base_channels * m for m in vq.channel_multiplier]
        sides = [config.image_size >> level for level in range(len(widths))]
        return 3 * max(w * side**2 for w, side in zip(widths, sides, strict=True)) * itemsize
    if graph is Graph.LANGUAGE_MODEL:
        new = rows * min(PREFILL_CHUNK, capacity)
        mlp = new * (2 * lm.hidden_size + 3 * lm.intermediate_size) * itemsize
        scores = new * lm.heads * capacity * 4
        return max(mlp, new * 5 * lm.hidden_size * itemsize + scores)
    if graph is Graph.GUIDED_SAMPLER:
        return 3 * rows * vq.codebook_size * 4
    return 0  # heads and the table of embeddings: their results are counted as logits
