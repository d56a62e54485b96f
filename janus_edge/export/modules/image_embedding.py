"""`image_embedding`: sampled codes to the language model's next inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_edge.config import JanusConfig


class ImageEmbedding(nn.Module):
    """Codes [P] -> embeddings [2P, 1, H]: each code for its conditional and unconditional row.

    The generation aligner is a function of the code alone, so it is folded into one [K, H] table
    at export (`export/graph_modules.py`) and a step costs one row of it.
    """

    prefix = ""

    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(config.vq.codebook_size, config.language.hidden_size))

    def forward(self, image_codes: Tensor) -> Tensor:
        rows = nn.functional.embedding(image_codes, self.table)[:, None]
        return torch.cat([rows, rows])
