"""Inputs of a parsed network for comparisons."""

from __future__ import annotations

import numpy as np

from janus_edge.config import JanusConfig
from tests.tensorrt_network.data_types import Array, rounded
from tests.tensorrt_network.network import Network

#: Filled positions of the language model's rows, which have unequal lengths.
PAST = (5, 2)
#: New tokens of each row.
TOKENS = 3


def random_feeds(network: Network, config: JanusConfig) -> dict[str, Array]:
    """Return normal values for two rows, images or pictures; codes and lengths are in range."""
    rng = np.random.default_rng(0)
    feeds = {}
    for tensor in network.inputs:
        shape = [2 if size < 0 else size for size in tensor.shape]
        if tensor.name == "past_lengths":
            feeds[tensor.name] = np.array(PAST)
            continue
        if tensor.name == "image_codes":
            feeds[tensor.name] = rng.integers(0, config.vq.codebook_size, shape)
            continue
        if tensor.name == "inputs_embeds":
            shape[1] = TOKENS
        elif tensor.name == "logits":  # two rows for each picture
            shape[0] *= 2
        values = np.asarray(rng.normal(size=shape), np.float32)
        feeds[tensor.name] = rounded(values, tensor.dtype)
    return feeds
